"""A model for MLServer: ONNX Runtime behind its inference call, as its documentation advises for custom runtimes."""

import os

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, Parameters, ResponseOutput
from mlserver.codecs import NumpyCodec


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["ORT_THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {tensor.name: np.asarray(NumpyCodec.decode_input(tensor)) for tensor in payload.inputs}
        answers = self.session.run(self.names, feeds)
        outputs = [NumpyCodec.encode_output(name, array) for name, array in zip(self.names, answers)]
        return InferenceResponse(id=payload.id, model_name=self.name, outputs=outputs)
