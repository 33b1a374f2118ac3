use std::io::{self, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use zstd::zstd_safe::CParameter;

use super::{Sink, Step};

/// The window a decoder must hold; 8 MiB is what levels up to 19 use, and what every zstd reader
/// accepts.
const WINDOW_LOG_MAX: u32 = 27;
/// What a thread compresses at a time. It is held several times over, once for each thread and each
/// buffer: zstd's own choice, 8 MiB, costs more than all the rest of a run.
const JOB_BYTES: u32 = 2 << 20;
/// What the trial of `auto` must save to be worth the time: 5 %.
const WORTHWHILE: usize = 20;
const TRIAL: usize = 1 << 20;

/// Whether compressing data like `sample` saves at least 5 %. An empty sample does not.
pub fn gains(sample: &[u8]) -> bool {
    let trial = &sample[..sample.len().min(TRIAL)];
    zstd::bulk::compress(trial, 1)
        .is_ok_and(|packed| packed.len() < trial.len() - trial.len() / WORTHWHILE)
}

/// Compression threads: one for each processor we may use, at most four.
pub fn threads() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors.min(4)).unwrap_or(1)
}

struct Zstd(zstd::stream::write::Encoder<'static, Box<dyn Sink>>);
struct Gzip(GzEncoder<Box<dyn Sink>>);

pub(super) fn writer(step: Step, sink: Box<dyn Sink>, expected: u64) -> io::Result<Box<dyn Sink>> {
    Ok(match step {
        Step::Zstd(level) => {
            let mut encoder = zstd::stream::write::Encoder::new(sink, i32::from(level))?;
            encoder.include_checksum(true)?;
            encoder.set_pledged_src_size(Some(expected))?;
            // Small data is not worth the threads.
            if expected > 8 << 20 && threads() > 1 {
                encoder.multithread(threads())?;
                encoder.set_parameter(CParameter::JobSize(JOB_BYTES))?;
            }
            Box::new(Zstd(encoder))
        }
        Step::Gzip(level) => Box::new(Gzip(GzEncoder::new(
            sink,
            flate2::Compression::new(u32::from(level)),
        ))),
    })
}

pub(super) fn reader<'a>(
    step: &str,
    sealed: Box<dyn Read + Send + 'a>,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match step {
        "zstd" => {
            let mut decoder = zstd::stream::read::Decoder::new(sealed)?;
            decoder.window_log_max(WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
        "gzip" => Box::new(MultiGzDecoder::new(BufReader::with_capacity(
            1 << 16,
            sealed,
        ))),
        other => {
            let why =
                format!("sealed with `{other}`, which this version of Lifeboat does not know");
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
    })
}

impl Write for Zstd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Zstd {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish()?.finish()
    }
}

impl Write for Gzip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Sink for Gzip {
    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.finish()?.finish()
    }
}
