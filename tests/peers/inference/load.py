"""Load by an unmodified tritonclient (gRPC, asyncio): N clients that each send one row at a time.

    python load.py --grpc HOST:PORT --model NAME --input NAME --shape 1,512,256 --clients N --seconds S

Every client has a connection of its own and sends its next request when it has its answer. Prints one JSON object.
"""

import argparse
import asyncio
import json
import time

import numpy as np
import tritonclient.grpc.aio as triton

OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", 64 << 20), ("grpc.max_receive_message_length", 64 << 20)]


async def client(options, begin, number):
    connection = triton.InferenceServerClient(options.grpc, channel_args=OPTIONS)
    shape = [1, *(int(size) for size in options.shape.split(","))]
    frame = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    given = triton.InferInput(options.input, shape, "UINT8")
    given.set_data_from_numpy(frame)
    took = []
    while True:
        sent = time.perf_counter()
        if sent >= begin + options.warm + options.seconds:
            break
        answer = await connection.infer(options.model, [given])
        got = time.perf_counter()
        if options.copy and not np.array_equal(answer.as_numpy(options.copy), frame):
            raise SystemExit("load.py: an answer is not that of its request")
        if sent >= begin + options.warm:
            took.append(got - sent)
    await connection.close()
    return took


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--shape", required=True, help="of a row")
    parser.add_argument("--copy", help="the output that must equal the input")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warm", type=float, default=1.0, help="seconds before anything counts")
    options = parser.parse_args()
    begin = time.perf_counter()
    took = sorted(sum(await asyncio.gather(*(client(options, begin, number) for number in range(options.clients))), []))
    at = lambda share: 1000 * took[int((len(took) - 1) * share)]
    print(json.dumps({"requests": len(took), "per_s": len(took) / options.seconds, "median_ms": at(0.5), "p99_ms": at(0.99)}))


asyncio.run(main())
