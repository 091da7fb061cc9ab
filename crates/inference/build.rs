//! Generates the messages, client and server of the Open Inference Protocol; needs no `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let schemas = "../../schemas";
    println!("cargo::rerun-if-changed={schemas}/open_inference_v2.proto");
    let files = protox::compile(["open_inference_v2.proto"], [schemas])?;
    tonic_prost_build::configure()
        // Tensors stay where the network put them, instead of being copied into vectors.
        .bytes(".")
        .codec_path("crate::codec::RoomyCodec")
        .emit_rerun_if_changed(false)
        .compile_fds(files)?;
    Ok(())
}
