//! Trace ids: which reading a request belongs to, in the logs of all processes that took part (W3C Trace Context).

use std::fmt;

/// Name of the header, in HTTP and in gRPC.
pub(crate) const HEADER: &str = "traceparent";

/// A trace, and the span in it that asks. Random or derived from an item id; never from what a picture shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    trace: u128,
    span: u64,
}

impl Trace {
    /// `None` where one of them is 0, which the standard forbids.
    pub fn new(trace: u128, span: u64) -> Option<Trace> {
        (trace != 0 && span != 0).then_some(Trace { trace, span })
    }

    /// Reads a `traceparent` header: `00-<32 digits>-<16 digits>-<flags>`; later versions may go on after that.
    pub fn parse(header: &str) -> Option<Trace> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hexadecimal = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let sizes = hexadecimal(version, 2) && hexadecimal(trace, 32) && hexadecimal(span, 16) && hexadecimal(flags, 2);
        if !sizes || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        Trace::new(u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?)
    }

    /// The header that carries it on.
    pub(crate) fn header(self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

/// The trace id alone, as logs show it.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_written_as_the_standard_says() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::parse(text).unwrap();
        assert_eq!((trace.header().as_str(), trace.to_string().as_str()), (text, "4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(Trace::parse("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::parse(wrong), None, "{wrong}");
        }
    }
}
