//! The ceiling of the bench: how many images a second the networks alone can be run on, nothing else being done.
//!
//! ```text
//! ceiling search  --runtime LIB --cores N --seconds S MODEL.onnx ..
//! ceiling measure --runtime LIB --seconds S MODEL.onnx RUNNERS,THREADS,SPIN,BATCH ..
//! ```
//!
//! ONNX Runtime is called as directly as this language can: sessions of its own, none of the code of this crate between, inputs
//! that lie ready, outputs dropped unread. `search` tries every way to share the cores (runners, each with a session of so many
//! threads), spinning or sleeping idle threads, and batches of 1 to 32 rows. `measure` runs each model in turn in the way given;
//! each has all the cores for itself, which no program that runs them side by side can beat. Both print one line for each model
//! and way, fields parted by tabs: model, runners, threads, spin (0 or 1), batch, images per second, CPU seconds per image of the
//! whole process.

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{TensorRef, ValueType};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

const BATCHES: [usize; 6] = [1, 2, 4, 8, 16, 32];
const USAGE: &str =
    "ceiling search|measure --runtime LIB [--cores N] [--seconds S] MODEL.onnx [RUNNERS,THREADS,SPIN,BATCH] ..";

/// A way to run a model.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Sessions at work at the same time, each with its own caller.
    runners: usize,
    /// Threads of each session.
    threads: usize,
    /// Whether idle threads spin instead of sleeping.
    spin: bool,
    /// Images that are run together.
    batch: usize,
}

impl Way {
    fn parse(text: &str) -> Result<Way> {
        let numbers: Vec<usize> = text.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
        let [runners, threads, spin, batch] = numbers[..] else { return Err(USAGE.into()) };
        if runners == 0 || threads == 0 || batch == 0 {
            return Err("runners, threads and batch are at least 1".into());
        }
        Ok(Way { runners, threads, spin: spin != 0, batch })
    }

    /// Every way to use `cores` cores.
    fn all(cores: usize) -> Vec<Way> {
        let mut ways = Vec::new();
        for runners in (1..=cores).filter(|runners| cores.is_multiple_of(*runners)) {
            let threads = cores / runners;
            for spin in [false, true] {
                // A session of one thread has no idle ones.
                if threads > 1 || !spin {
                    ways.extend(BATCHES.map(|batch| Way { runners, threads, spin, batch }));
                }
            }
        }
        ways
    }
}

/// What a way came to.
struct Measured {
    way: Way,
    images_per_s: f64,
    cpu_s_per_image: f64,
}

impl Measured {
    fn print(&self, model: &str) {
        let Measured { way: Way { runners, threads, spin, batch }, images_per_s, cpu_s_per_image } = self;
        println!(
            "{model}\t{runners}\t{threads}\t{}\t{batch}\t{images_per_s:.4}\t{cpu_s_per_image:.6}",
            u8::from(*spin)
        );
    }
}

/// CPU seconds of this process so far, ended threads included, to .01 s (`/proc/self/stat`, whose ticks are 1/100 s on Linux).
fn cpu_s() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold spaces; user and system time are the 12th and 13th field after it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).ok_or("/proc/self/stat is odd");
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}

fn session(environment: &Environment, model: &Path, way: Way) -> Result<Session> {
    let refused = |error: ort::Error<ort::session::builder::SessionBuilder>| error.to_string();
    let builder = Session::builder(environment)?;
    let builder = builder.with_optimization_level(GraphOptimizationLevel::All).map_err(refused)?;
    let builder = builder.with_intra_threads(way.threads).map_err(refused)?;
    let builder = builder.with_inter_threads(1).map_err(refused)?;
    let mut builder = builder.with_intra_op_spinning(way.spin).map_err(refused)?;
    Ok(builder.commit_from_file(model)?)
}

/// Name and shape of the only input, for a batch; bytes like those of a picture.
fn input(session: &Session, batch: usize) -> Result<(String, Vec<usize>, Vec<u8>)> {
    let [outlet] = session.inputs() else { return Err("a model with one input is expected".into()) };
    let ValueType::Tensor { shape, .. } = outlet.dtype() else { return Err("a tensor is expected".into()) };
    let shape: Vec<usize> =
        shape.iter().enumerate().map(|(axis, &size)| if axis == 0 { batch } else { size.max(1) as usize }).collect();
    let mut state = 1u32;
    let bytes = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    Ok((outlet.name().to_owned(), shape, bytes))
}

/// Runs a model in one way for about `seconds`, after a warm-up of each session.
fn run(environment: &Environment, model: &Path, way: Way, seconds: f64) -> Result<Measured> {
    let sessions: Vec<Session> = (0..way.runners).map(|_| session(environment, model, way)).collect::<Result<_>>()?;
    // A system that does not tell is found here, before anyone waits for anyone.
    cpu_s()?;
    let (stop, images) = (AtomicBool::new(false), AtomicU64::new(0));
    let barrier = Barrier::new(way.runners + 1);
    let runner = |mut session: Session| -> Result<()> {
        let prepared = input(&session, way.batch);
        let mut once = || -> Result<()> {
            let (name, shape, bytes) = prepared.as_ref().map_err(|error| error.to_string())?;
            let tensor = TensorRef::from_array_view((shape.clone(), &bytes[..]))?;
            session.run(ort::inputs![name.as_str() => tensor])?;
            Ok(())
        };
        let warm = once().and_then(|()| once());
        // Everybody comes to both barriers, whatever has gone wrong.
        barrier.wait();
        let mut done = warm;
        while done.is_ok() && !stop.load(Ordering::Relaxed) {
            done = once();
            images.fetch_add(way.batch as u64, Ordering::Relaxed);
        }
        barrier.wait();
        done
    };
    std::thread::scope(|scope| {
        let runners: Vec<_> = sessions.into_iter().map(|session| scope.spawn(|| runner(session))).collect();
        barrier.wait();
        let (start, cpu) = (Instant::now(), cpu_s()?);
        std::thread::sleep(Duration::from_secs_f64(seconds));
        stop.store(true, Ordering::Relaxed);
        barrier.wait();
        let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_s()? - cpu);
        for runner in runners {
            runner.join().map_err(|_| "a runner panicked")??;
        }
        let images = images.load(Ordering::Relaxed) as f64;
        Ok(Measured { way, images_per_s: images / elapsed, cpu_s_per_image: cpu / images })
    })
}

struct Arguments {
    command: String,
    runtime: PathBuf,
    cores: usize,
    seconds: f64,
    rest: Vec<String>,
}

fn arguments() -> Result<Arguments> {
    let mut given = std::env::args().skip(1);
    let command = given.next().ok_or(USAGE)?;
    let (mut runtime, mut cores, mut seconds, mut rest) = (None, None, 2.0, Vec::new());
    while let Some(argument) = given.next() {
        let mut value = || given.next().ok_or(USAGE);
        match argument.as_str() {
            "--runtime" => runtime = Some(PathBuf::from(value()?)),
            "--cores" => cores = Some(value()?.parse()?),
            "--seconds" => seconds = value()?.parse()?,
            _ => rest.push(argument),
        }
    }
    let cores = match cores {
        Some(cores) => cores,
        None => std::thread::available_parallelism()?.get(),
    };
    Ok(Arguments { command, runtime: runtime.ok_or(USAGE)?, cores, seconds, rest })
}

fn main() -> Result<()> {
    let Arguments { command, runtime, cores, seconds, rest } = arguments()?;
    let environment = ort::init_from(&runtime)?.with_telemetry(false).build()?;
    environment.set_log_level(ort::logging::LogLevel::Warning);
    match command.as_str() {
        "search" => {
            for model in &rest {
                for way in Way::all(cores) {
                    run(&environment, Path::new(model), way, seconds)?.print(model);
                }
            }
        }
        "measure" => {
            for pair in rest.chunks(2) {
                let [model, way] = pair else { return Err(USAGE.into()) };
                run(&environment, Path::new(model), Way::parse(way)?, seconds)?.print(model);
            }
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}
