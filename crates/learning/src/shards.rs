//! Tensors as .npy files, a few hundred samples each.

use crate::error::{Error, Result};
use ndarray::ArrayD;
use ndarray_npy::WriteNpyExt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// One tensor of a shard; the first axis counts the samples.
pub(crate) struct Part {
    name: &'static str,
    tensor: Tensor,
}

enum Tensor {
    Bytes(ArrayD<u8>),
    Floats(ArrayD<f32>),
}

impl Part {
    /// # Panics
    /// If the samples do not fill `shape`.
    pub fn bytes<'a>(name: &'static str, shape: &[usize], samples: impl Iterator<Item = &'a [u8]>) -> Part {
        Part { name, tensor: Tensor::Bytes(stack(shape, samples)) }
    }

    /// # Panics
    /// If the samples do not fill `shape`.
    pub fn floats<'a>(name: &'static str, shape: &[usize], samples: impl Iterator<Item = &'a [f32]>) -> Part {
        Part { name, tensor: Tensor::Floats(stack(shape, samples)) }
    }
}

fn stack<'a, T: Copy + 'a>(shape: &[usize], samples: impl Iterator<Item = &'a [T]>) -> ArrayD<T> {
    let values: Vec<T> = samples.flatten().copied().collect();
    ArrayD::from_shape_vec(shape, values).expect("samples of one task have one shape")
}

/// Writes shards into a folder.
pub(crate) struct ShardWriter {
    out: PathBuf,
}

impl ShardWriter {
    pub fn new(out: &Path) -> Result<ShardWriter> {
        std::fs::create_dir_all(out).map_err(|source| Error::Io {
            action: "make",
            what: "the output folder".into(),
            source,
        })?;
        Ok(ShardWriter { out: out.to_path_buf() })
    }

    /// Writes `shard-<number>.<part>.npy`, each under another name first, so that a reader never sees half a file.
    pub fn write(&self, number: usize, parts: &[Part]) -> Result<()> {
        for part in parts {
            let what = format!("`{}` of shard {number}", part.name);
            let io = |source| Error::Io { action: "write", what: what.clone(), source };
            let path = self.out.join(format!("shard-{number:05}.{}.npy", part.name));
            let partial = path.with_extension("partial");
            let mut file = BufWriter::new(File::create(&partial).map_err(io)?);
            let written = match &part.tensor {
                Tensor::Bytes(array) => array.write_npy(&mut file),
                Tensor::Floats(array) => array.write_npy(&mut file),
            };
            written.map_err(|source| Error::Npy { what: what.clone(), source })?;
            file.flush().map_err(io)?;
            std::fs::rename(&partial, &path).map_err(io)?;
        }
        Ok(())
    }
}
