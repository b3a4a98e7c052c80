"""Declarations of a system: its cases, its reference, its stages and their variants. Plain data.

A reference declares the truth, a system declares the port. `docs/add-a-system.md` is a tutorial.
"""

from parity.declarations.stages import AUDIBLE as AUDIBLE
from parity.declarations.stages import HOST as HOST
from parity.declarations.stages import METADATA as METADATA
from parity.declarations.stages import Arrays as Arrays
from parity.declarations.stages import ComputeUnits as ComputeUnits
from parity.declarations.stages import Dim as Dim
from parity.declarations.stages import Format as Format
from parity.declarations.stages import Kind as Kind
from parity.declarations.stages import Precision as Precision
from parity.declarations.stages import Stage as Stage
from parity.declarations.stages import Tensor as Tensor
from parity.declarations.stages import Variant as Variant
from parity.declarations.stages import f32 as f32
from parity.declarations.stages import i32 as i32
from parity.declarations.stages import real as real
from parity.declarations.systems import Case as Case
from parity.declarations.systems import Golden as Golden
from parity.declarations.systems import Hub as Hub
from parity.declarations.systems import Reference as Reference
from parity.declarations.systems import Run as Run
from parity.declarations.systems import Seam as Seam
from parity.declarations.systems import System as System
from parity.declarations.systems import Trained as Trained
