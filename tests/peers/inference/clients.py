"""Other people's clients against a stage service: health, metadata, inference and errors, the same script for each.

    python clients.py triton-grpc|triton-http|kserve-grpc|kserve-http --grpc HOST:PORT --http HOST:PORT --golden scale.golden.npz

The service serves the test models `scale` and `identity` of crates/inference/tests/models. tritonclient and kserve bring protocol
files of the same names, so that each runs in a process of its own. Ends with 0 when every check holds; prints one line.
"""

import argparse
import asyncio
import logging
import sys

import numpy as np

MODEL = "scale"
INPUT, SCALED, MEAN = "image", "scaled", "mean"
SHAPE = [1, 4, 8]


def expect(holds, what):
    if not holds:
        raise SystemExit(f"clients.py: {what}")


class TritonClient:
    """tritonclient over gRPC or HTTP; both have the same calls."""

    def __init__(self, kind, address):
        if kind == "grpc":
            import tritonclient.grpc as module
        else:
            import tritonclient.http as module
        self.module, self.kind = module, kind
        self.client = module.InferenceServerClient(address)

    def live(self):
        return self.client.is_server_live()

    def ready(self):
        return self.client.is_server_ready()

    def model_ready(self, model):
        return self.client.is_model_ready(model)

    def describe(self, model):
        """Names, types and shapes of inputs and outputs; name of the server; largest batch; requests counted."""
        as_json = {"as_json": True} if self.kind == "grpc" else {}
        metadata = self.client.get_model_metadata(model, **as_json)
        config = self.client.get_model_config(model, **as_json)
        config = config.get("config", config)
        statistics = self.client.get_inference_statistics(model, **as_json)
        server = self.client.get_server_metadata(**as_json)
        # JSON of protocol buffers has numbers of 64 bits as text
        sides = [
            [(t["name"], t["datatype"], [int(size) for size in t["shape"]]) for t in metadata[side]]
            for side in ("inputs", "outputs")
        ]
        counted = int(statistics["model_stats"][0].get("inference_stats", {}).get("success", {}).get("count", 0))
        return sides, server["name"], int(config["max_batch_size"]), counted

    def infer(self, model, values, outputs, request_id="", binary=True, timeout_us=None):
        """Arrays of the outputs and the id of the answer."""
        given = self.module.InferInput(INPUT, list(values.shape), "UINT8")
        if self.kind == "grpc":
            given.set_data_from_numpy(values)
            wanted = [self.module.InferRequestedOutput(name) for name in outputs]
        else:
            given.set_data_from_numpy(values, binary_data=binary)
            wanted = [self.module.InferRequestedOutput(name, binary_data=binary) for name in outputs]
        answer = self.client.infer(model, [given], outputs=wanted or None, request_id=request_id, timeout=timeout_us)
        head = answer.get_response(as_json=True) if self.kind == "grpc" else answer.get_response()
        names = outputs or [output["name"] for output in head["outputs"]]
        return {name: answer.as_numpy(name) for name in names}, head.get("id", "")

    def refusal(self, *arguments, **named):
        from tritonclient.utils import InferenceServerException

        try:
            self.infer(*arguments, **named)
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"
        raise SystemExit("clients.py: a wrong request was answered")


class KserveClient:
    """kserve's clients, which are asynchronous."""

    def __init__(self, kind, address):
        import kserve

        # it logs every refusal that is expected here with a stack
        logging.disable(logging.CRITICAL)
        self.kserve, self.kind = kserve, kind
        self.loop = asyncio.new_event_loop()
        self.address = address if kind == "grpc" else f"http://{address}"
        self.loop.run_until_complete(self.connect())

    async def connect(self):
        if self.kind == "grpc":
            self.client, self.base = self.kserve.InferenceGRPCClient(self.address), []
        else:
            config = self.kserve.RESTConfig(protocol="v2")
            self.client, self.base = self.kserve.InferenceRESTClient(config), [self.address]

    def wait(self, call):
        return self.loop.run_until_complete(call)

    def live(self):
        return self.wait(self.client.is_server_live(*self.base))

    def ready(self):
        return self.wait(self.client.is_server_ready(*self.base))

    def model_ready(self, model):
        return self.wait(self.client.is_model_ready(*self.base, model))

    def describe(self, model):
        return None

    def infer(self, model, values, outputs, request_id="", binary=True, timeout_us=None):
        given = self.kserve.InferInput(INPUT, list(values.shape), "UINT8")
        given.set_data_from_numpy(values, binary_data=binary)
        request = self.kserve.InferRequest(model, [given], request_id=request_id or None)
        if self.kind == "grpc":
            answer = self.wait(self.client.infer(request))
        else:
            answer = self.wait(self.client.infer(self.address, request, model_name=model))
        return {output.name: output.as_numpy() for output in answer.outputs}, answer.id or ""

    def refusal(self, *arguments, **named):
        try:
            self.infer(*arguments, **named)
        except Exception as error:  # each transport of kserve has its own kinds
            text = getattr(getattr(error, "response", None), "text", "")
            return f"{error} {text}"
        raise SystemExit("clients.py: a wrong request was answered")


def check(client, golden):
    """All that is expected of any client; `client.describe` may know nothing (None)."""
    expect(client.live() and client.ready(), "the server is not live or not ready")
    expect(client.model_ready(MODEL), "the model is not ready")
    described = client.describe(MODEL)
    if described:
        (inputs, outputs), server, batch, _ = described
        expect(server == "aortica" and batch == 16, f"server {server}, largest batch {batch}")
        expect(inputs == [(INPUT, "UINT8", [-1, *SHAPE])], f"inputs {inputs}")
        expect({name for name, _, _ in outputs} == {SCALED, MEAN}, f"outputs {outputs}")

    rows = golden[INPUT]
    tolerance = {"rtol": 1e-5, "atol": 1e-6}
    answered = 0
    for binary in (True, False):
        got, answered_id = client.infer(MODEL, rows, [], request_id="seven", binary=binary)
        answered += 1
        expect(answered_id == "seven", f"the id came back as {answered_id!r}")
        for name in (SCALED, MEAN):
            expect(np.allclose(got[name], golden[name], **tolerance), f"output {name} is not the golden one")
        one, _ = client.infer(MODEL, rows[:1], [MEAN], binary=binary)
        answered += 1
        expect(np.allclose(one[MEAN], golden[MEAN][:1], **tolerance), "one row is not the golden one")
    if described:
        expect(client.describe(MODEL)[3] >= answered, "the statistics do not count the requests")

    wrong = [
        (("nothing", rows), "no model `nothing`"),
        ((MODEL, rows.reshape(len(rows), 1, 8, 4)), "expected UINT8 [N, 1, 4, 8]"),
        ((MODEL, np.zeros((17, *SHAPE), np.uint8)), "1 to 16 rows"),
    ]
    for (model, values), expected in wrong:
        said = client.refusal(model, values, [])
        expect(expected in said, f"{expected!r} is not in {said!r}")
    frame = np.random.default_rng(5).integers(0, 256, (3, 1, 512, 256), dtype=np.uint8)
    copy, _ = client.infer("identity", frame, [])
    expect(np.array_equal(copy["copy"], frame), "the identity model changed a frame")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=["triton-grpc", "triton-http", "kserve-grpc", "kserve-http"])
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--http", required=True)
    parser.add_argument("--golden", required=True)
    options = parser.parse_args()
    # kserve reads the command line when it is imported
    del sys.argv[1:]
    make, kind = {"triton": TritonClient, "kserve": KserveClient}[options.client.split("-")[0]], options.client.split("-")[1]
    client = make(kind, options.grpc if kind == "grpc" else options.http)
    check(client, np.load(options.golden))
    print(f"interop: {options.client} passes")


if __name__ == "__main__":
    main()
