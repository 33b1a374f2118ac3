use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Memory {
    fn finish(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

const SEALS: [&[Step]; 4] = [&[], &[Step::Zstd(3)], &[Step::Gzip(6)], &[Step::Zstd(19)]];

fn sealed(seal: &Seal, plain: &[u8]) -> Vec<u8> {
    let memory = Memory::default();
    let mut writer = seal
        .writer(Box::new(memory.clone()), plain.len() as u64)
        .unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap();
    let sealed = memory.0.lock().unwrap();
    sealed.clone()
}

fn opened(seal: &Seal, sealed: &[u8]) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let reader: Box<dyn Read + Send> = Box::new(sealed);
    let mut reader = if seal.0.is_empty() {
        reader
    } else {
        unseal(&seal.record(), reader)?
    };
    reader.read_to_end(&mut plain)?;
    Ok(plain)
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(bytes)
    .collect()
}

proptest! {
    #[test]
    fn what_is_sealed_comes_back(plain: Vec<u8>) {
        for steps in SEALS {
            let seal = Seal(steps.to_vec());
            prop_assert_eq!(opened(&seal, &sealed(&seal, &plain)).unwrap(), plain.clone());
        }
    }
}

#[test]
fn a_seal_that_was_cut_anywhere_does_not_open() {
    let plain = b"a lifeboat is only as good as its last drill".repeat(20);
    for step in [Step::Zstd(3), Step::Gzip(6)] {
        let seal = Seal(vec![step]);
        let whole = sealed(&seal, &plain);
        for cut in 0..whole.len() {
            let came_back = opened(&seal, &whole[..cut]);
            assert!(
                came_back.as_ref().ok() != Some(&plain),
                "{step:?} cut at {cut}"
            );
            assert!(
                came_back.is_err() || cut == 0,
                "{step:?} cut at {cut} went unnoticed"
            );
        }
    }
}

#[test]
fn large_data_is_compressed_by_several_threads_and_comes_back() {
    let plain: Vec<u8> = noise(64 << 10).repeat(9 << 4);
    assert!(plain.len() > 8 << 20);
    let seal = Seal(vec![Step::Zstd(3)]);
    assert_eq!(opened(&seal, &sealed(&seal, &plain)).unwrap(), plain);
}

#[test]
fn auto_compresses_text_and_leaves_noise_alone() {
    let auto = SealConfig::default();
    assert_eq!(
        auto.decide(&b"the same again ".repeat(1000)).0,
        [Step::Zstd(3)]
    );
    assert_eq!(auto.decide(&noise(1 << 20)).0, []);
    assert_eq!(auto.decide(&[]).0, []);
}

#[test]
fn the_sum_is_the_one_that_sha256sum_prints() {
    let mut digest = Sha256::default();
    digest.update(b"ab");
    digest.update(b"c");
    let sum = digest.finish();
    assert_eq!(sum.bytes, 3);
    assert_eq!(
        sum.sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn gzip_has_no_level_above_nine() {
    let config = SealConfig {
        compression: Compression::Gzip,
        level: Level(12),
    };
    assert!(config.problem().is_some());
    assert!(
        SealConfig {
            level: Level(9),
            ..config
        }
        .problem()
        .is_none()
    );
}

#[test]
fn a_step_of_a_later_version_is_named() {
    let steps = [SealStep {
        name: "brotli".into(),
        recipients: Vec::new(),
    }];
    let error = unseal(&steps, Box::new(io::empty())).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    assert!(error.to_string().contains("brotli"));
}

#[test]
fn every_extension_of_a_seal_is_known_as_one_and_no_other_is() {
    for seal in [vec![], vec![Step::Zstd(3)], vec![Step::Gzip(6)]] {
        assert!(is_extension(&Seal(seal).extension()));
    }
    for other in [".mine", ".zst.mine", "zst", ".zst.zst"] {
        assert!(!is_extension(other), "{other}");
    }
}
