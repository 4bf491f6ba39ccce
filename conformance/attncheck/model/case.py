"""A case: one concrete input as sizes, options, dtype, device and seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Case:
    """Small, printable, replayable: tensors are made from it, never kept in it.

    `masking` says how the mask is made: "" for no mask, else a kind of `strategies.tensors`.
    """

    sizes: Mapping[str, int]
    options: Mapping[str, Scalar] = field(default_factory=dict)
    masking: str = ""
    dtype: str = "float64"
    device: str = "cpu"
    seed: int = 0

    def with_sizes(self, **sizes: int) -> "Case":
        """The same case with some sizes changed."""
        return replace(self, sizes={**self.sizes, **sizes})

    def with_options(self, **options: Scalar) -> "Case":
        """The same case with some options changed."""
        return replace(self, options={**self.options, **options})

    @property
    def names(self) -> Mapping[str, Scalar]:
        """Sizes and options together, as expressions over them see them."""
        return {**self.sizes, **self.options}

    def __str__(self) -> str:
        parts = [f"{axis}={size}" for axis, size in self.sizes.items()]
        parts += [f"{name}={value}" for name, value in self.options.items()]
        if self.masking:
            parts.append(f"mask={self.masking}")
        if self.dtype != "float64":
            parts.append(f"dtype={self.dtype}")
        if self.device != "cpu":
            parts.append(f"device={self.device}")
        return " ".join([*parts, f"seed={self.seed}"])

    def to_json(self) -> dict[str, object]:
        """As it stands in a report."""
        return {
            "sizes": dict(self.sizes),
            "options": dict(self.options),
            "masking": self.masking,
            "dtype": self.dtype,
            "device": self.device,
            "seed": self.seed,
        }

    @staticmethod
    def from_json(data: Mapping[str, object]) -> "Case":
        """The case that `to_json` wrote. Raises KeyError if a field is missing."""
        fields = dict(data)
        return Case(
            sizes=fields["sizes"],  # type: ignore[arg-type]  # checked by the report's schema
            options=fields["options"],  # type: ignore[arg-type]  # checked by the report's schema
            masking=str(fields["masking"]),
            dtype=str(fields["dtype"]),
            device=str(fields["device"]),
            seed=int(str(fields["seed"])),
        )
