from .api import BlockSolution as BlockSolution
from .api import iter_solve_blocks as iter_solve_blocks
from .api import solve_blocks as solve_blocks
from .source import Plane as Plane
from .source import open_image as open_image
from .source import open_scribbles as open_scribbles
from .source import open_unary as open_unary
