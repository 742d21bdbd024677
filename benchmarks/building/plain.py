"""The plain recipes that ours are held against: what a person gets who calls the quantisers as their pages show.

Runs in a child process: a quantiser may crash on a graph, and its memory goes with it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgelift_builder import calls, data
from edgelift_builder.calls import Axes

#: Name → format, in the order of the table.
FORMATS = {
    "plain-static": "onnx",
    "plain-static-reduced": "onnx",
    "plain-dynamic": "onnx",
    "plain-dynamic-channel": "onnx",
    "plain-litert-static": "tflite",
    "plain-litert-dynamic": "tflite",
}


def make(name: str, model: str, calibration: str, axes: Axes, folder: str) -> str:
    """Quantise a float model and return the path of what came of it.

    Args:
        name: one of `FORMATS`.
        model: float ONNX or TFLite.
        calibration: data set.
        axes: see `calls`.
        folder: empty, for the files.
    """
    given = list(calls.each(data.load(Path(calibration)), axes))
    out = Path(folder) / f"model.{FORMATS[name]}"
    _MADE_BY[name](Path(model), out, given)
    return str(out)


def _static(model: Path, out: Path, given: list[data.DataSet], *, reduce_range: bool) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(given)

        def get_next(self) -> Any:
            return next(self._left, None)

    quantize_static(str(_ready(model, out)), str(out), Reader(), per_channel=True, reduce_range=reduce_range)


def _dynamic(model: Path, out: Path, _given: list[data.DataSet], *, per_channel: bool) -> None:
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(_ready(model, out)), str(out), per_channel=per_channel)


def _ready(model: Path, out: Path) -> Path:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = out.with_name("ready.onnx")
    try:
        quant_pre_process(str(model), str(ready))
    except Exception:  # noqa: BLE001 - its symbolic shapes stop at what they don't know: its own option then
        quant_pre_process(str(model), str(ready), skip_symbolic_shape=True)
    return ready


def _litert(model: Path, out: Path, given: list[data.DataSet], *, recipe: str) -> None:
    """Inputs and outputs stay float, as in ours: whose clients quantise themselves is another question."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer import recipe as recipes

    made = quantizer.Quantizer(str(model))
    made.load_quantization_recipe(getattr(recipes, recipe)())
    if recipe.startswith("static"):
        for end in ("INPUT", "OUTPUT"):
            operation = qtyping.TFLOperationName[end]
            made.update_quantization_recipe(regex=".*", operation_name=operation, algorithm_key="no_quantize")
        interpreter = Interpreter(model_path=str(model))
        key = next(iter(interpreter.get_signature_list()))
        taken = {n: d["dtype"] for n, d in interpreter.get_signature_runner(key).get_input_details().items()}
        cast = [{n: a.astype(taken[n], copy=False) for n, a in call.items()} for call in given]
        made.quantize(made.calibrate({key: cast})).export_model(str(out))
    else:
        made.quantize().export_model(str(out))


def _with(function: Callable[..., None], **options: Any) -> Callable[[Path, Path, list[data.DataSet]], None]:
    return lambda model, out, given: function(model, out, given, **options)


_MADE_BY = {
    "plain-static": _with(_static, reduce_range=False),
    "plain-static-reduced": _with(_static, reduce_range=True),
    "plain-dynamic": _with(_dynamic, per_channel=False),
    "plain-dynamic-channel": _with(_dynamic, per_channel=True),
    "plain-litert-static": _with(_litert, recipe="static_wi8_ai8"),
    "plain-litert-dynamic": _with(_litert, recipe="dynamic_wi8_afp32"),
}
