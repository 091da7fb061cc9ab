//! How each kind of scanner sees and shows: field, pixels, sharpness, noise, scatter, processing, and who made it.

use crate::config::Scanner;

/// Properties of a scanner model. Lengths in mm; optical depths without unit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub modality: &'static str,
    pub maker: &'static str,
    pub model: &'static str,
    pub software: &'static str,
    /// Lowest and highest pixel size, mm.
    pub spacing: (f64, f64),
    /// Field width, mm.
    pub field: (f64, f64),
    /// Rows allowed, px.
    pub rows: (usize, usize),
    /// Columns allowed, px.
    pub columns: (usize, usize),
    /// Indices of the topmost body wanted in view: (lowest, highest) with 6 = T12, 14 = T4.
    pub top_body: (f64, f64),
    /// Standard deviation of the point-spread function, mm.
    pub blur_mm: f64,
    /// Noise of the optical depth pooled over 1 mm² at the spine.
    pub noise: f64,
    /// Scattered over primary radiation at the detector.
    pub scatter: f64,
    /// How much of soft tissue's contrast is left (dual energy takes most away).
    pub soft: f64,
    /// Optical depth shown from black to white.
    pub window: f64,
    /// Grey of the spine's surroundings, 0..1.
    pub middle: f64,
    /// Share of the slow variation that processing removes.
    pub equalise: f64,
    /// Gain of edge enhancement.
    pub sharpen: f64,
    /// Strength of row-to-row noise against the pixel noise.
    pub row_noise: f64,
    pub anterior_right: bool,
    pub monochrome1: bool,
    pub bits: u16,
}

impl Scanner {
    pub(crate) fn style(self) -> Style {
        let hologic = Style {
            modality: "CR",
            maker: "HOLOGIC",
            model: "Horizon A",
            software: "13.6.0.5",
            spacing: (0.30, 0.42),
            field: (125.0, 190.0),
            rows: (912, 1656),
            columns: (378, 567),
            top_body: (9.5, 14.0),
            blur_mm: 0.32,
            noise: 0.0125,
            scatter: 0.12,
            soft: 0.62,
            window: 3.6,
            middle: 0.47,
            equalise: 0.25,
            sharpen: 0.5,
            row_noise: 0.35,
            anterior_right: true,
            monochrome1: false,
            bits: 12,
        };
        let film = Style {
            modality: "DX",
            maker: "",
            model: "",
            software: "",
            spacing: (0.139, 0.175),
            field: (190.0, 400.0),
            rows: (1900, 3000),
            columns: (1000, 2800),
            top_body: (6.3, 8.7),
            blur_mm: 0.16,
            noise: 0.0036,
            scatter: 0.55,
            soft: 1.0,
            window: 4.9,
            middle: 0.5,
            equalise: 0.3,
            sharpen: 0.6,
            row_noise: 0.0,
            anterior_right: false,
            monochrome1: false,
            bits: 12,
        };
        match self {
            Scanner::HologicHorizon => hologic,
            Scanner::HologicDiscovery => Style {
                model: "Discovery A",
                software: "12.7.3.1",
                spacing: (0.36, 0.5),
                blur_mm: 0.42,
                noise: 0.016,
                row_noise: 0.5,
                rows: (912, 1400),
                columns: (378, 480),
                ..hologic
            },
            Scanner::GeIdxa => Style {
                modality: "OT",
                maker: "GE MEDICAL SYSTEMS",
                model: "Lunar iDXA",
                software: "16.00.090",
                spacing: (0.25, 0.46),
                field: (160.0, 205.0),
                rows: (900, 1660),
                columns: (430, 760),
                top_body: (9.5, 13.0),
                blur_mm: 0.5,
                noise: 0.013,
                scatter: 0.08,
                soft: 0.26,
                window: 2.0,
                middle: 0.42,
                equalise: 0.1,
                sharpen: 0.2,
                row_noise: 0.15,
                bits: 8,
                ..hologic
            },
            Scanner::GeProdigy => Style {
                modality: "OT",
                maker: "GE MEDICAL SYSTEMS",
                model: "Lunar Prodigy Advance",
                software: "13.60.033",
                spacing: (0.42, 0.6),
                field: (165.0, 210.0),
                rows: (700, 1000),
                columns: (330, 480),
                top_body: (9.0, 12.5),
                blur_mm: 0.75,
                noise: 0.019,
                scatter: 0.08,
                soft: 0.24,
                window: 2.0,
                middle: 0.42,
                equalise: 0.1,
                sharpen: 0.0,
                row_noise: 0.2,
                bits: 8,
                ..hologic
            },
            Scanner::FujiCr => Style {
                modality: "CR",
                maker: "FUJIFILM Corporation",
                model: "5501",
                software: "A14",
                spacing: (0.15, 0.15),
                bits: 10,
                noise: 0.0048,
                blur_mm: 0.19,
                ..film
            },
            Scanner::AgfaCr => Style {
                modality: "CR",
                maker: "Agfa-Gevaert",
                model: "DX-G",
                software: "NIM2112",
                spacing: (0.10, 0.16),
                monochrome1: true,
                noise: 0.0045,
                equalise: 0.42,
                sharpen: 0.8,
                ..film
            },
            Scanner::CarestreamDr => Style {
                maker: "Carestream Health",
                model: "DRX-Evolution",
                software: "5.7.212.1",
                spacing: (0.139, 0.139),
                equalise: 0.45,
                sharpen: 0.8,
                ..film
            },
            Scanner::PhilipsDr => Style {
                maker: "Philips Medical Systems",
                model: "DigitalDiagnost",
                software: "4.1.8",
                spacing: (0.143, 0.148),
                bits: 12,
                monochrome1: true,
                ..film
            },
            Scanner::SiemensDr => Style {
                maker: "SIEMENS",
                model: "FLUOROSPOT Compact FD",
                software: "VF10",
                spacing: (0.144, 0.16),
                bits: 14,
                window: 5.4,
                ..film
            },
            Scanner::DigitisedFilm => Style {
                modality: "RG",
                maker: "VIDAR Systems",
                model: "DiagnosticPRO Advantage",
                software: "5.3",
                spacing: (0.17, 0.2),
                rows: (1500, 2400),
                columns: (900, 2000),
                blur_mm: 0.22,
                noise: 0.006,
                scatter: 0.7,
                equalise: 0.0,
                sharpen: 0.0,
                window: 4.6,
                bits: 12,
                ..film
            },
        }
    }
}
