"""A model that its own runtime answers for, in place of a torch module: ONNX and TFLite files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgelift_builder.data import DataSet
from edgelift_builder.measure.runtimes import ModelSpec, Session, open_session
from edgelift_contract.manifest import Format, RuntimeName, SessionOptions


@dataclass(frozen=True)
class Port:
    """An input or output of a model in a file.

    Attributes:
        name: its name.
        dtype: its type, as `data.kind_name` has it.
        shape: lengths of its axes in a call, None where that is free.
        symbols: what the file calls each axis that is free; empty where it has no word for it.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    symbols: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As a person reads it: `float32[batch, 3, 32, 32]`."""
        words = self.symbols or ("",) * len(self.shape)
        lengths = [str(n) if n is not None else word or "any" for n, word in zip(self.shape, words, strict=True)]
        return f"{self.dtype}[{', '.join(lengths)}]"


@dataclass
class FileModel:
    """A model that its own runtime answers for, in place of a torch module.

    Attributes:
        path, format: what it is.
        ports: its inputs; empty where the file does not say.
        answers: its outputs.
        quantised: does it come in 8 bits.
        takes_nan: does it know what to do where a number is missing.
        called: the name of the file that it came in, where `path` is a copy.
        vocabulary: input → number of rows in the table that it is an index into, where the graph shows it.
        metadata: what the file says of itself besides, by name.
    """

    path: Path
    format: Format
    ports: list[Port]
    answers: list[Port]
    vocabulary: dict[str, int] = field(default_factory=dict)
    quantised: bool = False
    training: bool = False
    takes_nan: bool = False
    called: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    _session: Session | None = None

    @property
    def input_names(self) -> list[str]:
        """Names in the file's order."""
        return [port.name for port in self.ports]

    @property
    def name(self) -> str:
        """The file's name, as its owner knows it."""
        return self.called or self.path.name

    def open(self) -> Session:
        """Its runtime, which holds it from now on; weights stay mapped from the file.

        Raises:
            ContractError: `load-failed`, the runtime's exception behind it.
        """
        if self._session is None:
            runtime: RuntimeName = "onnxruntime" if self.format == "onnx" else "litert"
            options = SessionOptions(threads=1, prepacking=False, arena=False)
            names = tuple(self.input_names), tuple(port.name for port in self.answers)
            self._session = open_session(ModelSpec(runtime, self.path, options, *names, batch_free=True))
        return self._session

    def run(self, inputs: DataSet) -> DataSet:
        """Outputs by name, through the model's own runtime.

        Raises:
            ContractError: `load-failed`.
        """
        return {name: array.copy() for name, array in self.open().run(inputs).items()}
