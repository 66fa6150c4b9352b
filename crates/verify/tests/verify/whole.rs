//! Models as they should be.

use anelith_verify::{Gate, Part, Progress, Result, Scope, Tokens, Verification, advice, grade, verify};

use crate::model::{LAYERS, Model, Pair, TOKENS, VOCAB, ids};
use crate::npz;

/// The mean KL divergence that the order of sums and the rotary tables, which are fp16, may leave in f32.
const F32: f64 = 1e-6;

fn check_against_itself(found: &Verification) {
    assert_eq!(found.saturation.beyond, 0, "{:?}", found.saturation.first);
    assert!(found.agreement.agrees(), "{:?}", found.agreement);
    // Three batches of eight, one token of a fourth, and the batch that ends the context.
    let agreement = &found.agreement;
    assert_eq!((agreement.batches, agreement.partial, agreement.comparisons), (3, 1, 5));
    assert_eq!((found.repeat.positions, found.repeat.differing), (TOKENS, 0));
    assert_eq!(found.blocks.len(), 2 * LAYERS + 2);
    assert!(found.blocks.iter().all(|block| block.largest > 0.0 && !block.largest_at.is_empty()));
}

#[test]
fn fp16_alone_is_excellent_in_every_family() {
    for family in ["llama", "qwen2", "qwen3"] {
        let found = Pair::whole(family, "none").verify(Scope::All).unwrap();
        check_against_itself(&found);
        assert!(!found.is_packed);
        assert_eq!(found.columns.iter().map(|(part, _)| *part).collect::<Vec<_>>(), [Part::Both]);
        assert!(found.main().kl_mean < 1e-4, "{family}: {:?}", found.main());
        assert!(found.first_drop().is_none(), "{family}: {:?}", found.blocks);
        assert_eq!((grade(found.main().kl_mean), advice(&found)), ("excellent", None));
        let f32 = Pair::whole(family, "none").verify(Scope::F32).unwrap();
        assert!(f32.main().kl_mean < F32, "{family}: {:?}", f32.main());
    }
}

#[test]
fn lookup_tables_are_told_from_fp16() {
    for (family, lut) in [("llama", "4"), ("qwen2", "6"), ("qwen3", "8"), ("llama", "3"), ("qwen3", "2")] {
        let found = Pair::whole(family, lut).verify(Scope::All).unwrap();
        check_against_itself(&found);
        assert!(found.first_drop().is_none(), "{family} {lut}: {:?}", found.blocks);
        let kl = |part| found.column(part).unwrap().kl_mean;
        assert!(kl(Part::Fp16) < 0.3 * kl(Part::Lut), "{family} {lut}: {:?}", found.columns);
        assert!(
            (kl(Part::Both) - kl(Part::Lut)).abs() < 0.3 * kl(Part::Lut),
            "{family} {lut}: {:?}",
            found.columns
        );
        let bits = found.blocks.iter().filter_map(|block| block.bits).collect::<Vec<_>>();
        // Splits of the LM head are too small to be palettized.
        assert_eq!(bits, vec![lut.parse::<u32>().unwrap(); 2 * LAYERS + 1], "{family} {lut}");
    }
}

#[test]
fn the_same_is_found_every_time() {
    let pair = Pair::whole("qwen3", "4");
    let [one, other] = [(); 2].map(|()| format!("{:?}", pair.verify(Scope::All).unwrap()));
    assert_eq!(one, other);
}

#[test]
fn a_model_that_picks_the_token_itself_is_measured_before_it_does() {
    let model = Model::new("qwen3");
    let picks = Pair::with_options(&model, &model, "4", true).verify(Scope::Exact).unwrap();
    let answers = Pair::new(&model, &model, "4").verify(Scope::Exact).unwrap();
    assert_eq!(picks.columns, answers.columns);
    assert!(picks.agreement.agrees());
}

#[test]
fn a_text_longer_than_the_context_begins_anew() {
    let pair = Pair::whole("llama", "none");
    let long: Vec<i32> = ids().into_iter().cycle().take(70).collect();
    let found = pair.verify_npz(&npz::file(&[npz::ids(&long)]), Scope::F32).unwrap();
    assert_eq!((found.windows, found.window, found.main().positions), (3, 32, 70));
    assert!(found.main().kl_mean < F32);
    // The whole context: the last batch is given in part, and then whole at the end of the context.
    assert_eq!((found.agreement.batches, found.agreement.partial, found.agreement.comparisons), (3, 7, 5));
    // Shorter than a batch: the text is repeated until there is one.
    let short = pair.verify_npz(&npz::file(&[npz::ids(&ids()[..5])]), Scope::F32).unwrap();
    assert_eq!((short.agreement.batches, short.agreement.partial), (1, 1));
    assert!(short.agreement.agrees());
}

#[test]
fn recorded_logits_are_compared_with_the_reference() {
    let pair = Pair::whole("llama", "none");
    let far: Vec<f32> = (0..TOKENS * VOCAB).map(|i| (i % 7) as f32).collect();
    let found =
        pair.verify_npz(&npz::file(&[npz::ids(&ids()), npz::logits(&far, VOCAB)]), Scope::F32).unwrap();
    let recorded = found.recorded.unwrap();
    assert!(recorded.kl_mean > 0.1 && recorded.dp_rms > 0.0 && recorded.ppl.is_finite());
    assert!(found.main().kl_mean < F32);
}

#[test]
fn gates_judge() {
    let found = Pair::whole("llama", "4").verify(Scope::Exact).unwrap();
    let judge = |gate: &str| Gate::parse_all(gate).unwrap()[0].judge(&found);
    assert!(judge("kld>10").passed && !judge("kld>0").passed);
    assert!(judge("same_top<0").passed && !judge("same_top<1.5").passed);
    // Not measured where only one column is.
    let absent = judge("kl_fp16>1");
    assert_eq!((absent.value, absent.passed), (None, false));
}

#[test]
fn whoever_watches_may_stop_it() {
    struct Impatient;
    impl Progress for Impatient {
        fn interrupted(&self) -> bool {
            true
        }
    }
    let pair = Pair::whole("llama", "4");
    let path = pair.path().join("ids.npz");
    std::fs::write(&path, npz::file(&[npz::ids(&ids())])).unwrap();
    let (checkpoint, meta) = pair.open();
    let stopped: Result<_> =
        verify(&checkpoint, &meta, Tokens::of_npz(&path, 100).unwrap(), Scope::All, &Impatient);
    assert!(matches!(stopped, Err(anelith_verify::Error::Interrupted)));
}

#[test]
fn token_ids_may_have_64_bits() {
    let pair = Pair::whole("llama", "none");
    let long: Vec<[u8; 8]> = ids().iter().map(|id| i64::from(*id).to_le_bytes()).collect();
    let array = npz::array("input_ids", "'<i8'", &format!("{},", long.len()), long.into_iter());
    let found = pair.verify_npz(&npz::file(&[array]), Scope::F32).unwrap();
    assert_eq!(found.columns, pair.verify(Scope::F32).unwrap().columns);
}

#[test]
fn arrays_may_be_compressed() {
    let pair = Pair::whole("llama", "none");
    // More than the window of deflate, so that it is unpacked piece by piece.
    let logits: Vec<f32> = (0..200 * VOCAB).map(|i| (i * i % 1009) as f32 / 100.0).collect();
    let long: Vec<i32> = ids().into_iter().cycle().take(200).collect();
    let members = [npz::ids(&long), npz::logits(&logits, VOCAB)];
    let [stored, compressed] = [npz::file(&members), npz::compressed(&members)]
        .map(|bytes| pair.verify_npz(&bytes, Scope::F32).unwrap());
    assert_eq!(stored.columns, compressed.columns);
    assert_eq!(stored.recorded.unwrap(), compressed.recorded.unwrap());
}
