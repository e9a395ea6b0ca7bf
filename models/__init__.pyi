from .config import Backbone as Backbone
from .config import ModelConfig as ModelConfig
from .deeplab import DeepLabV3Plus as DeepLabV3Plus
from .files import LoadedModel as LoadedModel
from .files import load_model as load_model
from .files import save_model as save_model
from .onnx import export_onnx as export_onnx
from .weights import build_model as build_model
