"""Recipes of float and int8, for what has to be built and is not about recipes; without a name, which is the test's."""

#: The quickest that has both: training and export take what time there is.
ONNX = """
[[variant]]
name = "float32"
format = "onnx"
required = true
steps = ["export-onnx"]
[[variant]]
name = "int8"
format = "onnx"
steps = ["export-onnx", "static-int8"]
"""

#: The same for LiteRT.
TFLITE = ONNX.replace("static-int8", "tflite-static-int8").replace("onnx", "tflite")
