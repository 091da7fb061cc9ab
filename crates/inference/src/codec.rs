//! Messages to bytes: as tonic's own codec does it, but into a buffer that has room for all of the message from the start. A buffer that
//! grows by doubling moves pictures and heatmaps several times before they are sent.

use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic_prost::ProstCodec;

/// The codec of the generated client and server (build.rs).
pub struct RoomyCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for RoomyCodec<T, U> {
    fn default() -> RoomyCodec<T, U> {
        RoomyCodec(PhantomData)
    }
}

impl<T: Message + Send + 'static, U: Message + Default + Send + 'static> Codec for RoomyCodec<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = RoomyEncoder<T>;
    type Decoder = <ProstCodec<T, U> as Codec>::Decoder;

    fn encoder(&mut self) -> RoomyEncoder<T> {
        RoomyEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::default().decoder()
    }
}

pub struct RoomyEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for RoomyEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|error| Status::internal(format!("a message was not encoded: {error}")))
    }
}
