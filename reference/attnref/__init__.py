"""Typed reference implementations of attention mechanisms."""

from attnref._checked import ShapeError as ShapeError
from attnref._checked import checked as checked
from attnref._mechanism import BrokenLaw as BrokenLaw
from attnref._mechanism import Citation as Citation
from attnref._mechanism import Contract as Contract
from attnref._mechanism import Law as Law
from attnref._mechanism import Mechanism as Mechanism
from attnref._mechanism import Option as Option
from attnref._mechanism import Rule as Rule
from attnref._mechanism import Variant as Variant
from attnref.axes import AXES as AXES
from attnref.catalogue import MECHANISMS as MECHANISMS
