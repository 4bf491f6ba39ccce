"""Typed reference implementations of attention mechanisms."""

from attnref._checked import ShapeError as ShapeError
from attnref._mechanism import Citation as Citation
from attnref._mechanism import Contract as Contract
from attnref._mechanism import Mechanism as Mechanism
from attnref.axes import AXES as AXES
from attnref.catalogue import MECHANISMS as MECHANISMS
