//! A release: the tables of a cohort as files that stay as they are. In the order in which it is made:
//! [`tables`] what is told, [`files`] as CSV and Parquet, [`workbook`] as XLSX, [`codebook`] and [`labels`] what it means, [`papers`] where
//! it comes from and how it is cited, [`checksums`] that nothing changes.
//!
//! Nothing in it knows the clock, the machine or a path, and everything is in a fixed order: the same lake, file and policy
//! give the same bytes.

pub mod checksums;
pub mod codebook;
pub mod files;
pub mod labels;
pub mod papers;
pub mod tables;
pub mod workbook;
