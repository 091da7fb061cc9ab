//! A cohort: participants times visits, each picture drawn alone.

use crate::config::{Config, Scanner};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::negative::take_negative;
use crate::picture::take_lateral;
use crate::population::{FollowUp, Participant};
use crate::random::Random;
use crate::reader::Reader;
use crate::scene::{Scene, Sitting};
use crate::spine::Build;
use crate::truth::{Truth, View};
use domain::grade::Aac24;
use domain::{PixelSpacing, Raster, Segment, SegmentGrade};

/// Most participants of one cohort, and visits of one participant.
pub const PARTICIPANTS_MAX: u64 = 10_000_000;
pub const VISITS_MAX: u32 = 50;

/// One simulated picture with everything that is true of it.
#[derive(Debug, Clone)]
pub struct Simulated {
    /// Grey values 0..2^`header.bits_stored`, bone bright (the sense of MONOCHROME2).
    pub raster: Raster,
    pub spacing: PixelSpacing,
    pub truth: Truth,
    pub header: Header,
    pub participant: Participant,
    pub(crate) stream: [u64; 3],
}

/// A cohort of pictures with random access: picture `i` depends only on the configuration, the seed and `i`.
#[derive(Debug, Clone)]
pub struct Cohort {
    config: Config,
    seed: u64,
    participants: u64,
    visits: u32,
}

impl Cohort {
    /// # Errors
    /// If the configuration is out of range, or a count is 0 or over [`PARTICIPANTS_MAX`], [`VISITS_MAX`].
    pub fn new(config: Config, seed: u64, participants: u64, visits: u32) -> Result<Cohort> {
        config.validate()?;
        if participants == 0 || participants > PARTICIPANTS_MAX {
            let problem = format!("is {participants}, not within 1..={PARTICIPANTS_MAX}");
            return Err(Error::Config { field: "participants", problem });
        }
        if visits == 0 || visits > VISITS_MAX {
            return Err(Error::Config {
                field: "visits",
                problem: format!("is {visits}, not within 1..={VISITS_MAX}"),
            });
        }
        Ok(Cohort { config, seed, participants, visits })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.participants as usize * self.visits as usize
    }

    /// Never: a cohort has at least one picture.
    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn participants(&self) -> u64 {
        self.participants
    }

    /// # Panics
    /// If `index` is not below [`Cohort::participants`].
    pub fn participant(&self, index: u64) -> Participant {
        assert!(index < self.participants, "participant {index} of {}", self.participants);
        Participant::draw(&self.config, self.seed, index, self.visits)
    }

    /// What became of a participant. The hazard follows the geometric total at the first visit, seen or not.
    pub fn follow_up(&self, participant: &Participant) -> FollowUp {
        let total = Aac24::of(&self.geometric_grades(participant, 0)).min;
        participant.follow_up(&self.config.population, self.seed, total)
    }

    /// Grades of all of a participant's plaque at a visit, seen or not and as if nothing hid any segment; without drawing.
    ///
    /// # Panics
    /// If `visit` is not below the cohort's number of visits.
    pub fn geometric_grades(&self, participant: &Participant, visit: u32) -> [SegmentGrade; Segment::COUNT] {
        Scene::set(&self.config, &self.sitting(participant, visit)).geometric_grades()
    }

    /// Grades that a simulated reader gives the picture; `repeat` counts the same reader's repeated readings from 0. `None`
    /// where the picture is no lateral lumbar spine.
    pub fn human_reading(
        &self,
        simulated: &Simulated,
        reader: Reader,
        repeat: u32,
    ) -> Option<[SegmentGrade; Segment::COUNT]> {
        crate::reader::read(&self.config, &simulated.truth, simulated.stream, reader, repeat)
    }

    /// How well a simulated reader agrees with a second reading of the same picture: Dice of the marked stretches of wall between
    /// T12/L1 and L4/L5. `None` where the picture is no lateral lumbar spine or neither reading marks anything.
    pub fn repeat_dice(&self, simulated: &Simulated, reader: Reader) -> Option<f64> {
        crate::reader::repeat_dice(&self.config, &simulated.truth, simulated.stream, reader)
    }

    fn sitting(&self, participant: &Participant, visit: u32) -> Sitting {
        Sitting {
            // the skeleton is that of the first visit: fractures and bone loss do not heal between visits
            build: Build { male: participant.male, age: participant.age_at_entry },
            burden: participant.burden(visit),
            scanner: participant.scanner(&self.config, self.seed, visit),
            seed: self.seed,
            participant: participant.index,
            visit: u64::from(visit),
        }
    }

    /// The picture at full resolution. Pictures are ordered by participant, then visit.
    ///
    /// # Panics
    /// If `index` is not below [`Cohort::len`].
    pub fn simulate(&self, index: usize) -> Simulated {
        self.render(index, None)
    }

    /// The same scene, framing and exposure with coarser pixels: at most `max_height_px` rows. Pooled over an area, noise
    /// and blur are those of the full picture; the grain itself is drawn anew. Visible truth is that of the full picture.
    ///
    /// # Panics
    /// If `index` is not below [`Cohort::len`], or `max_height_px` is below 32.
    pub fn simulate_scaled(&self, index: usize, max_height_px: u32) -> Simulated {
        assert!(max_height_px >= 32, "a picture of {max_height_px} rows shows nothing");
        self.render(index, Some(max_height_px as usize))
    }

    fn render(&self, index: usize, rows_max: Option<usize>) -> Simulated {
        assert!(index < self.len(), "image {index} is not in this cohort of {}", self.len());
        let (number, visit) = ((index as u64) / u64::from(self.visits), (index as u64 % u64::from(self.visits)) as u32);
        let participant = self.participant(number);
        let mut sitting = self.sitting(&participant, visit);
        let stream = [self.seed, number, u64::from(visit)];
        let view = self.view(&stream);
        if view == View::Chest && sitting.scanner.is_dxa() {
            sitting.scanner = Scanner::CarestreamDr;
        }
        let age = participant.age(visit);
        let date = participant.visit_date(visit);
        let picture = match view {
            View::LateralLumbar => take_lateral(&self.config, &sitting, rows_max),
            View::Frontal | View::Chest | View::Cervical | View::Blank => {
                take_negative(&self.config, &sitting, view, rows_max)
            }
        };
        let mut header = Header::of(&participant, (self.seed, visit), sitting.scanner, view, (age, date));
        header.bits_stored = picture.bits;
        header.burned_in_annotation = picture.text_burned_in;
        header.anterior_right = picture.anterior_right;
        Simulated {
            raster: picture.raster,
            spacing: picture.spacing,
            truth: picture.truth,
            header,
            participant,
            stream,
        }
    }

    fn view(&self, stream: &[u64; 3]) -> View {
        let negatives = &self.config.negatives;
        let mut random = Random::named("view", stream);
        if !random.chance(negatives.share) {
            return View::LateralLumbar;
        }
        let weights = [negatives.frontal, negatives.chest, negatives.cervical, negatives.blank];
        [View::Frontal, View::Chest, View::Cervical, View::Blank][random.weighted(weights.into_iter())]
    }
}
