from .image_status import ImageStatus as ImageStatus
from .manifest import Manifest as Manifest
from .manifest import ProjectClass as ProjectClass
from .manifest import ProjectImage as ProjectImage
from .opening import create_project as create_project
from .opening import open_project as open_project
from .project import Project as Project
