//! What was measured, and the numbers that follow from it.

use crate::markdown::median;
use crate::run::runtime::cases::Workload;
use crate::run::runtime::peer::Timed;
use crate::run::runtime::repack::Repacked;
use crate::run::runtime::told::Told;

/// Processes that did the same work, one of each round.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Rounds(pub(crate) Vec<Told>);

impl Rounds {
    /// Decoded tokens a second: the median of all repeats of all rounds.
    pub(crate) fn decode(&self) -> f64 {
        median(&self.0.iter().flat_map(|told| told.decode_tokens_per_second.clone()).collect::<Vec<_>>())
    }

    /// Prompt tokens a second: the median of all repeats of all rounds.
    pub(crate) fn prefill(&self) -> f64 {
        median(&self.0.iter().flat_map(|told| told.prefill_tokens_per_second.clone()).collect::<Vec<_>>())
    }

    /// Bytes a second that can be read from memory: the median of the rounds.
    pub(crate) fn bandwidth(&self) -> f64 {
        median(&self.0.iter().map(|told| told.bandwidth_bytes_per_second).collect::<Vec<_>>())
    }

    /// Seconds that loading took: the median of all rounds.
    pub(crate) fn load(&self) -> f64 {
        median(&self.0.iter().map(|told| told.load_seconds).collect::<Vec<_>>())
    }

    /// The most memory that any process had resident.
    pub(crate) fn peak(&self) -> u64 {
        self.0.iter().map(|told| told.peak_bytes).max().unwrap_or(0)
    }

    /// Bytes in which the weights that one decoded token needs are stored.
    pub(crate) fn bytes_per_token(&self) -> u64 {
        self.0.last().map_or(0, |told| told.decode_bytes_per_token)
    }

    /// Length of `weight.bin`.
    pub(crate) fn weight_bytes(&self) -> u64 {
        self.0.last().map_or(0, |told| told.weight_bytes)
    }

    /// Bytes of weights that are read in a second of decoding.
    pub(crate) fn bytes_per_second(&self) -> f64 {
        self.decode() * self.bytes_per_token() as f64
    }

    /// Decoded tokens a second if reading weights were all that takes time.
    pub(crate) fn limit(&self) -> f64 {
        self.bandwidth() / self.bytes_per_token().max(1) as f64
    }
}

/// A process from its start to its first token after a prompt of 8.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Start {
    /// Seconds until it ended, measured from outside.
    pub(crate) whole: f64,
    /// Seconds until the token was there, as it says.
    pub(crate) told: f64,
}

/// llama.cpp, one process of each round.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct PeerRounds {
    /// Of node-llama-cpp.
    pub(crate) version: String,
    pub(crate) rounds: Vec<Timed>,
}

impl PeerRounds {
    /// Decoded tokens a second: the median of all repeats of all rounds.
    pub(crate) fn decode(&self) -> f64 {
        median(&self.rounds.iter().flat_map(|timed| timed.decode.clone()).collect::<Vec<_>>())
    }

    /// Prompt tokens a second: the median of all repeats of all rounds.
    pub(crate) fn prefill(&self) -> f64 {
        median(&self.rounds.iter().flat_map(|timed| timed.prefill.clone()).collect::<Vec<_>>())
    }

    /// Seconds from its start to the first token: the median of the rounds.
    pub(crate) fn first_token(&self) -> f64 {
        median(&self.rounds.iter().map(|timed| timed.first_token).collect::<Vec<_>>())
    }

    /// The most memory that any process had resident.
    pub(crate) fn peak(&self) -> u64 {
        self.rounds.iter().map(|timed| timed.peak).max().unwrap_or(0)
    }
}

/// Decoding in some place of some context.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Filled {
    pub(crate) workload: Workload,
    /// Whether it is the last positions of the context.
    pub(crate) is_full: bool,
    pub(crate) told: Told,
    /// Bytes of keys and values of one position in all layers.
    pub(crate) bytes_per_position: u64,
}

impl Filled {
    /// Seconds per decoded token.
    pub(crate) fn seconds(&self) -> f64 {
        1.0 / self.told.decode()
    }

    /// Bytes of the cache that hold something while tokens are decoded, on average.
    pub(crate) fn cache(&self) -> u64 {
        self.workload.filled() * self.bytes_per_position
    }

    /// Bytes that one decoded token needs: cache and weights.
    pub(crate) fn read(&self) -> u64 {
        self.cache() + self.told.decode_bytes_per_token
    }
}

/// All that a run has measured.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) version: String,
    /// The weights of the targets.
    pub(crate) four: Rounds,
    pub(crate) starts: Vec<Start>,
    /// Or why llama.cpp was not measured.
    pub(crate) peer: Result<PeerRounds, String>,
    /// By the value of `--lut`.
    pub(crate) forms: Vec<(&'static str, Rounds)>,
    /// The best set of instructions that the machine has, and those below it.
    pub(crate) sets: Vec<Told>,
    pub(crate) growth: Vec<Filled>,
    pub(crate) repacked: Vec<Repacked>,
}

impl Results {
    /// Seconds of a process from its start to its end after the first token: the median of the rounds.
    pub(crate) fn start(&self) -> f64 {
        median(&self.starts.iter().map(|start| start.whole).collect::<Vec<_>>())
    }

    /// Seconds from its start to the first token, as it says: the median of the rounds.
    pub(crate) fn start_told(&self) -> f64 {
        median(&self.starts.iter().map(|start| start.told).collect::<Vec<_>>())
    }

    /// How fast a form of weights is read, in times of the four bits.
    pub(crate) fn per_byte(&self, form: &Rounds) -> f64 {
        form.bytes_per_second() / self.four.bytes_per_second()
    }

    /// How fast a set of instructions decodes, in times of another; `None` where the machine lacks one of them.
    pub(crate) fn set_against(&self, one: &str, other: &str) -> Option<f64> {
        let decode = |isa| self.sets.iter().find(|told| told.isa == isa).map(Told::decode);
        Some(decode(one)? / decode(other)?)
    }

    /// The places at the end of a context, by its size.
    pub(crate) fn full(&self) -> Vec<&Filled> {
        self.growth.iter().filter(|filled| filled.is_full).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run::runtime::told::tests::told;

    fn rounds(decode: f64, prefill: f64) -> Rounds {
        Rounds(vec![
            told(&[decode, decode - 2.0], &[prefill, prefill + 1.0]),
            told(&[decode + 1.0], &[prefill - 5.0]),
        ])
    }

    fn filled(context: u64, is_full: bool, decode: f64) -> Filled {
        let told = Told { context, ..told(&[decode], &[]) };
        Filled { workload: Workload::of_growth(context, is_full), is_full, told, bytes_per_position: 28_672 }
    }

    /// 100 tokens a second decoded against 50 of llama.cpp, 500 in prefill against 520; 8 bits are as slow as 4.
    pub(crate) fn results() -> Results {
        let peer = |decode: f64, prefill: f64| Timed {
            first_token: 3.9,
            prefill: vec![prefill],
            decode: vec![decode],
            peak: 700_000_000,
        };
        let mut six = rounds(80.0, 450.0);
        six.0.iter_mut().for_each(|told| told.decode_bytes_per_token = 450_000_000);
        let mut avx2 = told(&[50.0], &[200.0]);
        avx2.isa = "avx2".into();
        Results {
            machine: "a machine".into(),
            version: "anelith 0".into(),
            four: rounds(100.0, 500.0),
            starts: [0.5, 0.4, 0.6].map(|whole| Start { whole, told: whole - 0.1 }).to_vec(),
            peer: Ok(PeerRounds {
                version: "3.22.1".into(),
                rounds: vec![peer(49.0, 520.0), peer(50.0, 530.0), peer(51.0, 510.0)],
            }),
            forms: vec![("6", six), ("8", rounds(60.0, 400.0))],
            sets: vec![told(&[100.0], &[500.0]), avx2],
            growth: vec![
                filled(512, false, 210.0),
                filled(512, true, 200.0),
                filled(8192, false, 190.0),
                filled(8192, true, 100.0),
            ],
            repacked: Vec::new(),
        }
    }

    #[test]
    fn numbers_follow_from_all_repeats() {
        let results = results();
        assert_eq!((results.four.decode(), results.four.prefill()), (100.0, 500.0));
        assert!((results.four.limit() - 4e10 / 3e8).abs() < 1e-9);
        assert_eq!(results.start(), 0.5);
        let peer = results.peer.as_ref().expect("it was measured");
        assert_eq!((peer.decode(), peer.prefill(), peer.first_token()), (50.0, 520.0, 3.9));
        let per_byte: Vec<f64> = results.forms.iter().map(|(_, form)| results.per_byte(form)).collect();
        assert!((per_byte[0] - 1.2).abs() < 1e-9 && (per_byte[1] - 0.6).abs() < 1e-9, "{per_byte:?}");
        assert_eq!(results.set_against("avx2", "avx512"), Some(0.5));
        assert_eq!(results.set_against("neon", "avx512"), None);
    }

    #[test]
    fn the_cache_is_that_of_filled_positions() {
        let results = results();
        let full = results.full();
        assert_eq!(
            full.iter().map(|filled| filled.cache()).collect::<Vec<_>>(),
            [480 * 28_672, 8160 * 28_672]
        );
        assert_eq!(full[1].seconds(), 0.01);
    }
}
