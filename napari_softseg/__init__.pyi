from .errors import InputError as InputError
from .options import SolveOptions as SolveOptions
from .solver.api import iter_solve as iter_solve
from .solver.api import solve as solve
from .solver.solution import EnergyTerms as EnergyTerms
from .solver.solution import Solution as Solution
from .solver.solution import SolveProgress as SolveProgress
from .solver.solution import Status as Status

__version__: str
