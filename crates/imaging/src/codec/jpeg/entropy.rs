//! Bits and Huffman codes of entropy-coded JPEG segments (ISO/IEC 10918-1, annexes C and F.2.2).

use crate::refusal::Refusal;

/// Bits read ahead by the look-up table.
const LOOK_AHEAD: u32 = 9;

/// Reads bits up to the next marker. Never reads past it, and never makes up bits: a stream that ends early is refused.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in `buffer`.
    at: usize,
    /// Bits not yet taken, from the top.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Bits<'a> {
        Bits { bytes, at, buffer: 0, count: 0 }
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            let step = if byte == 0xFF {
                match self.bytes.get(self.at + 1) {
                    Some(0) => 2,
                    // a marker, or the end of the data
                    _ => return,
                }
            } else {
                1
            };
            self.at += step;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    #[inline]
    fn need(&mut self, bits: u32) -> Result<(), Refusal> {
        if self.count < bits {
            self.fill();
            if self.count < bits {
                return Err(self.ran_out());
            }
        }
        Ok(())
    }

    #[cold]
    fn ran_out(&self) -> Refusal {
        if self.at + 1 >= self.bytes.len() {
            Refusal::truncated("the JPEG stream ends within the picture")
        } else if self.bytes[self.at + 1] == 0xD9 {
            Refusal::truncated("the JPEG stream says that it ends within the picture")
        } else {
            Refusal::unreadable("a JPEG marker within coded samples")
        }
    }

    /// The next 0..=16 bits.
    #[inline]
    pub fn take(&mut self, bits: u32) -> Result<u32, Refusal> {
        if bits == 0 {
            return Ok(0);
        }
        self.need(bits)?;
        let value = (self.buffer >> (64 - bits)) as u32;
        self.buffer <<= bits;
        self.count -= bits;
        Ok(value)
    }

    /// A signed number of the given category (F.2.2.1, EXTEND).
    #[inline]
    pub fn signed(&mut self, category: u32) -> Result<i32, Refusal> {
        if category == 0 {
            return Ok(0);
        }
        let value = self.take(category)? as i32;
        Ok(if value < 1 << (category - 1) { value - (1 << category) + 1 } else { value })
    }

    /// The symbol of the next Huffman code.
    #[inline]
    pub fn symbol(&mut self, table: &Huffman) -> Result<u8, Refusal> {
        if self.count < 16 {
            self.fill();
        }
        let (symbol, length) = table.look_up((self.buffer >> 48) as u16)?;
        if length > self.count {
            return Err(self.ran_out());
        }
        self.buffer <<= length;
        self.count -= length;
        Ok(symbol)
    }

    /// Steps over the restart marker that must come next.
    pub fn restart(&mut self, number: u8) -> Result<(), Refusal> {
        self.buffer = 0;
        self.count = 0;
        match self.bytes.get(self.at..self.at + 2) {
            None => Err(Refusal::truncated("the JPEG stream ends within the picture")),
            Some(pair) if pair == [0xFF, 0xD0 + number] => {
                self.at += 2;
                Ok(())
            }
            Some(_) => Err(Refusal::unreadable("a JPEG restart marker is missing")),
        }
    }

    /// Where the marker after the coded samples begins; the length of the data when there is none.
    pub fn end(&self) -> usize {
        let mut at = self.at;
        while let Some(pair) = self.bytes.get(at..at + 2) {
            if pair[0] == 0xFF && !matches!(pair[1], 0 | 0xD0..=0xD7 | 0xFF) {
                return at;
            }
            at += 1;
        }
        self.bytes.len()
    }
}

/// A Huffman table as of DHT.
pub(super) struct Huffman {
    /// `length << 8 | symbol` by the next [`LOOK_AHEAD`] bits; 0 for longer codes.
    fast: Vec<u16>,
    /// For codes of 1..=16 bits: one past the last code, left-aligned in 16 bits, and where its symbols begin.
    ends: [u32; 17],
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// `counts[i]` codes of `i + 1` bits.
    pub fn new(counts: &[u8; 16], symbols: &[u8]) -> Result<Huffman, Refusal> {
        let mut fast = vec![0; 1 << LOOK_AHEAD];
        let (mut ends, mut offsets) = ([0; 17], [0; 17]);
        let mut code = 0_u32;
        let mut first = 0_usize;
        for length in 1..=16_u32 {
            let count = usize::from(counts[length as usize - 1]);
            offsets[length as usize] = first as i32 - code as i32;
            if code as usize + count > 1 << length {
                return Err(Refusal::unreadable("a JPEG Huffman table of too many codes"));
            }
            if length <= LOOK_AHEAD {
                for index in 0..count {
                    let from = (code as usize + index) << (LOOK_AHEAD - length);
                    let entry = (length as u16) << 8 | u16::from(symbols[first + index]);
                    fast[from..from + (1 << (LOOK_AHEAD - length))].fill(entry);
                }
            }
            code += count as u32;
            first += count;
            ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(Huffman { fast, ends, offsets, symbols: symbols.to_vec() })
    }

    /// Symbol and length of the code at the head of 16 bits.
    #[inline]
    fn look_up(&self, head: u16) -> Result<(u8, u32), Refusal> {
        let entry = self.fast[usize::from(head >> (16 - LOOK_AHEAD))];
        if entry != 0 {
            return Ok((entry as u8, u32::from(entry >> 8)));
        }
        for length in LOOK_AHEAD + 1..=16 {
            if u32::from(head) < self.ends[length as usize] {
                let code = i32::from(head >> (16 - length));
                let index = code + self.offsets[length as usize];
                return self
                    .symbols
                    .get(index as usize)
                    .map(|&symbol| (symbol, length))
                    .ok_or(Refusal::unreadable("a JPEG code that is in no Huffman table"));
            }
        }
        Err(Refusal::unreadable("a JPEG code that is in no Huffman table"))
    }
}
