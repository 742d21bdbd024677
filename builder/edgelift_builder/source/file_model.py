"""A model that its own runtime answers for, in place of a torch module: ONNX and TFLite files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgelift_builder.data import DataSet
from edgelift_builder.measure.runtimes import ModelSpec, Session, open_session
from edgelift_contract.manifest import Format, RuntimeName, SessionOptions


@dataclass(frozen=True)
class Port:
    """An input or output of a model in a file: its name, its type as `data.kind_name` has it, its shape in a call with None
    where that is free.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


@dataclass
class FileModel:
    """A model that its own runtime answers for, in place of a torch module.

    Attributes:
        path, format: what it is.
        ports: its inputs; empty where the file does not say.
        answers: its outputs.
        quantised: does it come in 8 bits.
        vocabulary: input → number of rows in the table that it is an index into, where the graph shows it.
    """

    path: Path
    format: Format
    ports: list[Port]
    answers: list[Port]
    vocabulary: dict[str, int] = field(default_factory=dict)
    quantised: bool = False
    training: bool = False
    _session: Session | None = None

    @property
    def input_names(self) -> list[str]:
        """Names in the file's order."""
        return [port.name for port in self.ports]

    def run(self, inputs: DataSet) -> DataSet:
        """Outputs by name, through the model's own runtime; weights stay mapped from the file.

        Raises:
            ContractError: `load-failed`.
        """
        if self._session is None:
            runtime: RuntimeName = "onnxruntime" if self.format == "onnx" else "litert"
            options = SessionOptions(threads=1, prepacking=False, arena=False)
            names = tuple(self.input_names), tuple(port.name for port in self.answers)
            self._session = open_session(ModelSpec(runtime, self.path, options, *names, batch_free=True))
        return {name: array.copy() for name, array in self._session.run(inputs).items()}
