//! Transfer syntaxes: how data set and pixel data are written (PS3.5, annex A).

use super::dataset::Encoding;

/// The transfer syntaxes that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    ImplicitLittle,
    ExplicitLittle,
    Deflated,
    ExplicitBig,
    /// JPEG process 1, 8 bit.
    JpegBaseline,
    /// JPEG processes 2 and 4, 8 and 12 bit.
    JpegExtended,
    /// JPEG process 14.
    JpegLossless,
    /// JPEG process 14, selection value 1.
    JpegLosslessFirstOrder,
    JpegLsLossless,
    JpegLsNearLossless,
    Jpeg2000Lossless,
    Jpeg2000,
    /// High-throughput JPEG 2000.
    Htj2kLossless,
    Htj2kLosslessRpcl,
    Htj2k,
    RleLossless,
    /// Anything else: video, JPEG XL, JPIP, SMPTE, private ones.
    Other,
}

const UIDS: [(Syntax, &str); 16] = [
    (Syntax::ImplicitLittle, "1.2.840.10008.1.2"),
    (Syntax::ExplicitLittle, "1.2.840.10008.1.2.1"),
    (Syntax::Deflated, "1.2.840.10008.1.2.1.99"),
    (Syntax::ExplicitBig, "1.2.840.10008.1.2.2"),
    (Syntax::JpegBaseline, "1.2.840.10008.1.2.4.50"),
    (Syntax::JpegExtended, "1.2.840.10008.1.2.4.51"),
    (Syntax::JpegLossless, "1.2.840.10008.1.2.4.57"),
    (Syntax::JpegLosslessFirstOrder, "1.2.840.10008.1.2.4.70"),
    (Syntax::JpegLsLossless, "1.2.840.10008.1.2.4.80"),
    (Syntax::JpegLsNearLossless, "1.2.840.10008.1.2.4.81"),
    (Syntax::Jpeg2000Lossless, "1.2.840.10008.1.2.4.90"),
    (Syntax::Jpeg2000, "1.2.840.10008.1.2.4.91"),
    (Syntax::Htj2kLossless, "1.2.840.10008.1.2.4.201"),
    (Syntax::Htj2kLosslessRpcl, "1.2.840.10008.1.2.4.202"),
    (Syntax::Htj2k, "1.2.840.10008.1.2.4.203"),
    (Syntax::RleLossless, "1.2.840.10008.1.2.5"),
];

impl Syntax {
    pub fn from_uid(uid: &str) -> Syntax {
        UIDS.iter().find(|(_, known)| *known == uid).map_or(Syntax::Other, |(syntax, _)| *syntax)
    }

    /// The UID; `OTHER` for one that is not in the list.
    pub fn uid(self) -> &'static str {
        UIDS.iter().find(|(syntax, _)| *syntax == self).map_or("OTHER", |(_, uid)| uid)
    }

    /// How the data set is written (after inflating). Private syntaxes are explicit little endian as a rule.
    pub fn encoding(self) -> Encoding {
        match self {
            Syntax::ImplicitLittle => Encoding::IMPLICIT_LITTLE,
            Syntax::ExplicitBig => Encoding::EXPLICIT_BIG,
            _ => Encoding::EXPLICIT_LITTLE,
        }
    }

    /// Whether pixel data lie in the data set as they are.
    pub fn is_native(self) -> bool {
        matches!(self, Syntax::ImplicitLittle | Syntax::ExplicitLittle | Syntax::Deflated | Syntax::ExplicitBig)
    }
}
