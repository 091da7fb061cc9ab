//! Lumbar anatomy as the Kauppila protocol names it.

use serde::{Deserialize, Serialize};

/// A vertebral level that the 24-point score grades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    L1,
    L2,
    L3,
    L4,
}

impl Level {
    /// From head to foot.
    pub const ALL: [Level; 4] = [Level::L1, Level::L2, Level::L3, Level::L4];

    /// 0 for L1 .. 3 for L4.
    pub fn index(self) -> usize {
        self as usize
    }

    pub fn vertebra(self) -> Vertebra {
        match self {
            Level::L1 => Vertebra::L1,
            Level::L2 => Vertebra::L2,
            Level::L3 => Vertebra::L3,
            Level::L4 => Vertebra::L4,
        }
    }

    /// Lower case, as in column names: `l1` .. `l4`.
    pub fn column(self) -> &'static str {
        ["l1", "l2", "l3", "l4"][self.index()]
    }
}

/// A wall of the abdominal aorta as seen from the side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wall {
    Anterior,
    Posterior,
}

impl Wall {
    pub const ALL: [Wall; 2] = [Wall::Anterior, Wall::Posterior];

    /// 0 anterior, 1 posterior: the channel order of the `segment` network.
    pub fn index(self) -> usize {
        self as usize
    }

    /// As in column names: `ant`, `post`.
    pub fn column(self) -> &'static str {
        ["ant", "post"][self.index()]
    }
}

/// One of the eight graded pieces of the aorta: a wall beside a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Segment {
    pub level: Level,
    pub wall: Wall,
}

impl Segment {
    pub const COUNT: usize = 8;

    /// L1 anterior, L1 posterior, L2 anterior, .. L4 posterior.
    pub fn all() -> [Segment; 8] {
        std::array::from_fn(Segment::from_index)
    }

    /// Position in [`Segment::all`], 0..8.
    pub fn index(self) -> usize {
        self.level.index() * 2 + self.wall.index()
    }

    /// # Panics
    /// If `index` is not in 0..8.
    pub fn from_index(index: usize) -> Segment {
        Segment { level: Level::ALL[index / 2], wall: Wall::ALL[index % 2] }
    }

    /// Column of the grade in the tables: `aac_l1_ant` .. `aac_l4_post`.
    pub fn column(self) -> String {
        format!("aac_{}_{}", self.level.column(), self.wall.column())
    }
}

/// A vertebra of which the `locate` network names corners, head to foot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Vertebra {
    T12,
    L1,
    L2,
    L3,
    L4,
    L5,
    S1,
}

impl Vertebra {
    pub const ALL: [Vertebra; 7] =
        [Vertebra::T12, Vertebra::L1, Vertebra::L2, Vertebra::L3, Vertebra::L4, Vertebra::L5, Vertebra::S1];

    pub fn index(self) -> usize {
        self as usize
    }

    pub fn name(self) -> &'static str {
        ["T12", "L1", "L2", "L3", "L4", "L5", "S1"][self.index()]
    }
}

/// A corner of a vertebral body in the lateral view. Anterior is the side of the aorta.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Corner {
    AnteriorSuperior,
    PosteriorSuperior,
    AnteriorInferior,
    PosteriorInferior,
}

impl Corner {
    pub const ALL: [Corner; 4] =
        [Corner::AnteriorSuperior, Corner::PosteriorSuperior, Corner::AnteriorInferior, Corner::PosteriorInferior];

    pub fn index(self) -> usize {
        self as usize
    }
}

/// A named vertebral corner: what one heatmap of the `locate` network shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Landmark {
    pub vertebra: Vertebra,
    pub corner: Corner,
}

impl Landmark {
    /// 4 corners each of T12..L5 and the two upper corners of S1.
    pub const COUNT: usize = 26;

    /// The channel of the landmark's heatmap, 0..26: vertebrae from head to foot, corners in the order of [`Corner::ALL`].
    /// `None` for the lower corners of S1, which have no meaning (the sacrum is fused).
    pub fn channel(self) -> Option<usize> {
        let channel = self.vertebra.index() * 4 + self.corner.index();
        (channel < Self::COUNT).then_some(channel)
    }

    /// # Panics
    /// If `channel` is not in 0..26.
    pub fn from_channel(channel: usize) -> Landmark {
        assert!(channel < Self::COUNT, "landmark channel {channel} is not in 0..26");
        Landmark { vertebra: Vertebra::ALL[channel / 4], corner: Corner::ALL[channel % 4] }
    }

    pub fn all() -> impl Iterator<Item = Landmark> {
        (0..Self::COUNT).map(Landmark::from_channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_landmarks_number_themselves_consistently() {
        for (index, segment) in Segment::all().into_iter().enumerate() {
            assert_eq!(segment.index(), index);
        }
        assert_eq!(Segment::from_index(7).column(), "aac_l4_post");
        for (channel, landmark) in Landmark::all().enumerate() {
            assert_eq!(landmark.channel(), Some(channel));
        }
        assert_eq!(Landmark { vertebra: Vertebra::S1, corner: Corner::AnteriorInferior }.channel(), None);
    }
}
