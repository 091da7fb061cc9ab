//! Tensors as they travel: typed, named, row-major, little-endian, the first axis counting rows (images).

use crate::error::{Error, ErrorKind, Result};
use crate::trace::Trace;
use bytes::Bytes;
use half::f16;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

#[cfg(not(target_endian = "little"))]
compile_error!("tensors are kept as little-endian bytes; a big-endian target would need conversions");

/// Element types, by the names of the Open Inference Protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dtype {
    #[serde(rename = "UINT8")]
    U8,
    #[serde(rename = "INT8")]
    I8,
    #[serde(rename = "FP16")]
    F16,
    #[serde(rename = "FP32")]
    F32,
}

impl Dtype {
    pub const ALL: [Dtype; 4] = [Dtype::U8, Dtype::I8, Dtype::F16, Dtype::F32];

    pub fn size_bytes(self) -> usize {
        match self {
            Dtype::U8 | Dtype::I8 => 1,
            Dtype::F16 => 2,
            Dtype::F32 => 4,
        }
    }

    /// Name in the Open Inference Protocol, in manifests and in messages.
    pub fn protocol_name(self) -> &'static str {
        match self {
            Dtype::U8 => "UINT8",
            Dtype::I8 => "INT8",
            Dtype::F16 => "FP16",
            Dtype::F32 => "FP32",
        }
    }

    pub fn from_protocol_name(name: &str) -> Option<Dtype> {
        Dtype::ALL.into_iter().find(|dtype| dtype.protocol_name() == name)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.protocol_name())
    }
}

/// A type whose every bit pattern is a value, so that bytes may be seen as it.
pub trait Element: sealed::Plain + Copy + Send + Sync + 'static {
    const DTYPE: Dtype;
}

mod sealed {
    /// Implemented for types without padding and without invalid bit patterns only.
    pub trait Plain {}
    impl Plain for u8 {}
    impl Plain for i8 {}
    impl Plain for half::f16 {}
    impl Plain for f32 {}
}

impl Element for u8 {
    const DTYPE: Dtype = Dtype::U8;
}
impl Element for i8 {
    const DTYPE: Dtype = Dtype::I8;
}
impl Element for f16 {
    const DTYPE: Dtype = Dtype::F16;
}
impl Element for f32 {
    const DTYPE: Dtype = Dtype::F32;
}

/// The elements in `bytes`, or `None` where the address or the length does not fit the type.
pub(crate) fn elements<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: `Element` is sealed to types for which every bit pattern is valid.
    let (before, middle, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(middle)
}

/// The bytes of `elements`.
pub(crate) fn bytes_of<T: Element>(elements: &[T]) -> &[u8] {
    // SAFETY: `Element` is sealed to types without padding; a byte has no alignment.
    unsafe { std::slice::from_raw_parts(elements.as_ptr().cast::<u8>(), std::mem::size_of_val(elements)) }
}

/// Keeps a vector of elements alive behind its bytes.
struct Owned<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for Owned<T> {
    fn as_ref(&self) -> &[u8] {
        bytes_of(&self.0)
    }
}

/// One named tensor. Axis 0 counts rows, each row is contiguous; cloning and slicing rows copies nothing.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    name: Arc<str>,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl Tensor {
    /// A tensor over `values`, which are taken over without a copy. `shape` multiplies up to their number and has at
    /// least one axis; otherwise an error of kind `Request`.
    pub fn new<T: Element>(name: impl Into<Arc<str>>, shape: &[usize], values: Vec<T>) -> Result<Tensor> {
        Tensor::from_bytes(name, T::DTYPE, shape, Bytes::from_owner(Owned(values)))
    }

    /// A tensor over little-endian, row-major `bytes`.
    pub fn from_bytes(name: impl Into<Arc<str>>, dtype: Dtype, shape: &[usize], bytes: Bytes) -> Result<Tensor> {
        let name = name.into();
        let wanted = size_bytes(dtype, shape).filter(|_| !shape.is_empty());
        if wanted != Some(bytes.len()) {
            return Err(Error::new(
                ErrorKind::Request,
                format!("tensor `{name}`: {} bytes do not fill {dtype} {shape:?}", bytes.len()),
            ));
        }
        Ok(Tensor { name, dtype, shape: shape.to_vec(), bytes })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Axis 0 counts rows.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// All values, row-major. Borrowed, unless the bytes happen to lie at an address that the type does not allow
    /// (possible after a network transfer): then copied.
    pub fn values<T: Element>(&self) -> Result<Cow<'_, [T]>> {
        if T::DTYPE != self.dtype {
            return Err(Error::new(
                ErrorKind::Request,
                format!("tensor `{}` holds {}, not {}", self.name, self.dtype, T::DTYPE),
            ));
        }
        Ok(match elements(&self.bytes) {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(copied(&self.bytes)),
        })
    }

    /// The values of one row. Panics where there is no such row.
    pub fn row<T: Element>(&self, row: usize) -> Result<Cow<'_, [T]>> {
        let size = self.bytes.len() / self.rows().max(1);
        let bytes = &self.bytes[row * size..(row + 1) * size];
        if T::DTYPE != self.dtype {
            return self.values();
        }
        Ok(match elements(bytes) {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(copied(bytes)),
        })
    }
}

/// The elements of `bytes` in a fresh, aligned vector.
fn copied<T: Element>(bytes: &[u8]) -> Vec<T> {
    let size = std::mem::size_of::<T>();
    bytes
        .chunks_exact(size)
        // SAFETY: the chunk has the size of `T`, the read asks for no alignment, every bit pattern is a `T`.
        .map(|chunk| unsafe { std::ptr::read_unaligned(chunk.as_ptr().cast::<T>()) })
        .collect()
}

/// Bytes that a tensor of this type and shape takes; `None` when the number does not fit a `usize`.
pub(crate) fn size_bytes(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(dtype.size_bytes(), |size, &axis| size.checked_mul(axis))
}

/// Never prints values: they may be a picture of a person.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {} {:?})", self.name, self.dtype, self.shape)
    }
}

/// What a stage is asked: one tensor for each input, all with the same number of rows, and until when it matters.
#[derive(Debug, Clone)]
pub struct TensorBatch {
    tensors: Vec<Tensor>,
    deadline: Option<Instant>,
    trace: Option<Trace>,
}

impl TensorBatch {
    pub fn new(tensors: Vec<Tensor>) -> TensorBatch {
        TensorBatch { tensors, deadline: None, trace: None }
    }

    /// After `deadline` nobody waits for the answer any more: the request costs nothing if it has not begun.
    pub fn with_deadline(self, deadline: Instant) -> TensorBatch {
        TensorBatch { deadline: Some(deadline), ..self }
    }

    /// The trace that the request belongs to; a service logs it.
    pub fn with_trace(self, trace: Option<Trace>) -> TensorBatch {
        TensorBatch { trace, ..self }
    }

    pub fn trace(&self) -> Option<Trace> {
        self.trace
    }

    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub fn into_tensors(self) -> Vec<Tensor> {
        self.tensors
    }
}

impl From<Tensor> for TensorBatch {
    fn from(tensor: Tensor) -> TensorBatch {
        TensorBatch::new(vec![tensor])
    }
}

/// The tensor of this name among `tensors`; an error of kind `Remote` when a stage left it out.
pub fn named<'a>(tensors: &'a [Tensor], name: &str) -> Result<&'a Tensor> {
    tensors
        .iter()
        .find(|tensor| tensor.name() == name)
        .ok_or_else(|| Error::new(ErrorKind::Remote, format!("the answer holds no tensor `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were_given() {
        let tensor = Tensor::new("x", &[2, 3], vec![1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!(tensor.values::<f32>().unwrap().as_ref(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(tensor.row::<f32>(1).unwrap().as_ref(), [4.0, 5.0, 6.0]);
        assert!(matches!(tensor.values::<f32>().unwrap(), Cow::Borrowed(_)));
        assert!(tensor.values::<u8>().is_err());
        assert!(tensor.row::<u8>(0).is_err());
    }

    #[test]
    fn misaligned_bytes_are_copied_not_refused() {
        let mut bytes = vec![0_u8];
        bytes.extend(bytes_of(&[0.5_f32, -1.5]));
        let buffer = Bytes::from(bytes);
        let tensor = Tensor::from_bytes("x", Dtype::F32, &[2], buffer.slice(1..)).unwrap();
        assert_eq!(tensor.values::<f32>().unwrap().as_ref(), [0.5, -1.5]);
    }

    #[test]
    fn a_shape_that_the_values_do_not_fill_is_refused() {
        assert!(Tensor::new("x", &[2, 2], vec![0_u8; 3]).is_err());
        assert!(Tensor::new::<u8>("x", &[], vec![]).is_err());
        assert!(Tensor::new("x", &[usize::MAX, 2], vec![0_u8; 2]).is_err());
    }

    #[test]
    fn debug_prints_no_values() {
        let tensor = Tensor::new("image", &[1, 2], vec![77_u8, 78]).unwrap();
        assert_eq!(format!("{tensor:?}"), "Tensor(image UINT8 [1, 2])");
    }
}
