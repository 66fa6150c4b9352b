//! Turns, prefixes, and what goes wrong, with a model that counts.

use std::thread::{self, Scope, ScopedJoinHandle};

use anelith_chat::{Cached, Tokenizer};
use tokio::sync::mpsc::Receiver;

use super::Engine;
use crate::fixtures::counting::{Counting, FAULT, PANIC, Watch};
use crate::fixtures::{demo, events, job};
use crate::intake::{Event, Intake, Usage};
use crate::metrics::{Load, Metrics};

struct Bench {
    tokenizer: Tokenizer,
    intake: Intake,
    metrics: Metrics,
    watch: Watch,
    slots: usize,
}

impl Bench {
    fn new(slots: usize) -> Bench {
        let (tokenizer, intake, metrics) = (demo(), Intake::new(slots, 16), Metrics::new());
        Bench { tokenizer, intake, metrics, watch: Watch::default(), slots }
    }

    fn start<'s>(&'s self, scope: &'s Scope<'s, '_>) -> ScopedJoinHandle<'s, ()> {
        let model = Counting::new(&self.watch);
        let engine = Engine::new(Cached::new(model), self.slots).unwrap();
        scope.spawn(|| engine.run(&self.tokenizer, &self.intake, &self.metrics))
    }

    /// Asks for one token after `prompt`; how many tokens of it were in a cache.
    fn cached(&self, prompt: &[u32]) -> usize {
        let (job, mut receiver) = job(prompt, 1);
        self.intake.admit(vec![job]).unwrap();
        usage(&finish(&mut receiver).1).cached
    }

    fn text(&self, ids: impl IntoIterator<Item = u32>) -> String {
        self.tokenizer.decode(&ids.into_iter().collect::<Vec<_>>()).unwrap()
    }
}

/// Waits for the end; what was told.
fn finish(receiver: &mut Receiver<(usize, Event)>) -> (String, Event) {
    let mut text = String::new();
    loop {
        match receiver.blocking_recv().expect("the engine tells how it ends").1 {
            Event::Started => {}
            Event::Part(part) => text.push_str(&part.text),
            last => return (text, last),
        }
    }
}

fn usage(event: &Event) -> Usage {
    match event {
        Event::Done(usage) => *usage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_take_turns_a_step_each() {
    let bench = Bench::new(2);
    let ((long, mut of_long), (short, mut of_short)) =
        (job(&[300, 301, 302, 303, 304, 305, 306, 310], 4), job(&[110], 2));
    bench.intake.admit(vec![long, short]).unwrap();
    thread::scope(|scope| {
        let engine = bench.start(scope);
        let (text, last) = finish(&mut of_long);
        assert_eq!(text, bench.text(311..315));
        let expected = Usage { is_complete: false, prompt: 8, cached: 0, generated: 4 };
        assert_eq!(usage(&last), expected);
        let (text, last) = finish(&mut of_short);
        assert_eq!((text, usage(&last).generated), (bench.text(111..113), 2));
        bench.intake.close();
        engine.join().unwrap();
    });
    let steps = bench.watch.steps();
    // The last part of a prompt fills a batch up.
    let expected: [&[u32]; 7] =
        [&[300, 301, 302, 303], &[304, 305, 306, 306], &[110], &[310], &[111], &[311], &[312]];
    assert_eq!(steps[..7], expected, "the short answer does not wait for the long one");
}

#[test]
fn a_prompt_goes_to_the_free_slot_that_knows_most_of_it() {
    let bench = Bench::new(3);
    thread::scope(|scope| {
        let engine = bench.start(scope);
        assert_eq!(bench.cached(&[10, 11, 12, 20]), 0);
        assert_eq!(bench.cached(&[30, 31, 32, 40]), 0);
        assert_eq!(bench.cached(&[10, 11, 12, 20, 21, 60]), 4, "the prompt; its answer was told and not run");
        assert_eq!(bench.cached(&[30, 31, 32, 70]), 3);
        assert_eq!(bench.cached(&[80]), 0);
        assert_eq!(
            bench.cached(&[10, 11, 12, 20, 21, 60]),
            5,
            "the last token predicts the first of the answer"
        );
        assert_eq!(bench.cached(&[85]), 0);
        assert_eq!(
            bench.cached(&[30, 31, 32, 70, 1]),
            0,
            "it was not used for the longest time, and another needed a slot"
        );
        bench.intake.close();
        engine.join().unwrap();
    });
}

#[test]
fn conversations_that_begin_alike_keep_slots_of_their_own() {
    let bench = Bench::new(3);
    thread::scope(|scope| {
        let engine = bench.start(scope);
        let (first, second) = ([10, 11, 20, 21, 22], [10, 11, 30, 31, 32]);
        assert_eq!(bench.cached(&first), 0);
        assert_eq!(bench.cached(&second), 0, "the start alone is not worth the end of the first");
        assert_eq!(bench.cached(&[&first[..], &[60]].concat()), 5);
        assert_eq!(bench.cached(&[&second[..], &[60]].concat()), 5);
        assert_eq!(bench.cached(&[10, 11, 70, 71, 72]), 0);
        assert_eq!(
            bench.cached(&[10, 11, 80, 81, 82]),
            2,
            "where all slots are taken, the one not used for longest"
        );
        assert_eq!(bench.cached(&[&second[..], &[60, 61]].concat()), 6);
        bench.intake.close();
        engine.join().unwrap();
    });
}

#[test]
fn answers_do_not_depend_on_who_else_is_served() {
    let bench = Bench::new(3);
    let prompts: Vec<Vec<u32>> = (0..12).map(|i| vec![100 + i % 4, 200 + i * 7, 250 + i % 3 * 60]).collect();
    let (jobs, receivers): (Vec<_>, Vec<_>) = prompts.iter().map(|prompt| job(prompt, 20)).unzip();
    bench.intake.admit(jobs).unwrap();
    thread::scope(|scope| {
        let engine = bench.start(scope);
        for (prompt, mut receiver) in prompts.iter().zip(receivers) {
            let (text, _) = finish(&mut receiver);
            let last = prompt[2];
            let end = (last + 1..).find(|token| token.is_multiple_of(50)).unwrap().min(last + 21);
            assert_eq!(text, bench.text(last + 1..end), "{prompt:?}");
        }
        bench.intake.close();
        engine.join().unwrap();
    });
}

#[test]
fn a_stop_string_ends_an_answer_within_a_turn() {
    let bench = Bench::new(1);
    let (mut stopped, mut receiver) = job(&[310], 30);
    stopped.stops = vec![bench.text([313, 314])];
    bench.intake.admit(vec![stopped]).unwrap();
    thread::scope(|scope| {
        let engine = bench.start(scope);
        let (text, last) = finish(&mut receiver);
        assert_eq!(text, bench.text([311, 312]));
        let usage = usage(&last);
        assert!(usage.is_complete);
        assert_eq!(usage.generated, 4);
        bench.intake.close();
        engine.join().unwrap();
    });
    assert_eq!(bench.watch.steps().len(), 4, "no step is taken for nothing");
}

#[test]
fn a_model_that_fails_or_panics_fails_one_answer() {
    let bench = Bench::new(1);
    thread::scope(|scope| {
        let engine = bench.start(scope);
        for bad in [FAULT, PANIC] {
            let ((broken, mut of_broken), (good, mut of_good)) = (job(&[310, bad], 5), job(&[310, 320], 2));
            bench.intake.admit(vec![broken, good]).unwrap();
            let (text, last) = finish(&mut of_broken);
            assert_eq!(text, "");
            assert!(matches!(&last, Event::Failed(problem) if problem.status == 500), "{last:?}");
            let (text, last) = finish(&mut of_good);
            assert_eq!((text, usage(&last).cached), (bench.text(321..323), 0), "the slot is cleared");
        }
        bench.intake.close();
        engine.join().unwrap();
    });
    let text = bench.metrics.text(Load { slots: 1, busy: 0, waiting: 0, connections: 0 });
    assert!(text.contains("anelith_model_failures_total 2\n"), "{text}");
}

#[test]
fn who_goes_away_is_not_served_any_more() {
    let bench = Bench::new(1);
    bench.watch.hold(3);
    let ((first, of_first), (second, of_second), (third, mut of_third)) =
        (job(&[310], 30), job(&[111], 30), job(&[112], 1));
    bench.intake.admit(vec![first, second, third]).unwrap();
    thread::scope(|scope| {
        let engine = bench.start(scope);
        bench.watch.wait_for(4);
        drop((of_first, of_second));
        bench.watch.release();
        assert_eq!(finish(&mut of_third).0, bench.text([113]));
        bench.intake.close();
        engine.join().unwrap();
    });
    let expected = [vec![310], vec![311], vec![312], vec![313], vec![112]];
    assert_eq!(bench.watch.steps(), expected, "the step under way is the last; who waited is never begun");
    assert_eq!(bench.intake.load(), (0, 0));
}

#[test]
fn who_does_not_read_is_left_out_and_others_go_on() {
    let bench = Bench::new(2);
    let (mut deaf, _) = job(&[310], 30);
    let (sender, mut of_deaf) = tokio::sync::mpsc::channel(4);
    deaf.sender = sender;
    let (other, mut of_other) = job(&[110], 30);
    bench.intake.admit(vec![deaf, other]).unwrap();
    thread::scope(|scope| {
        let engine = bench.start(scope);
        assert_eq!(finish(&mut of_other).0, bench.text(111..141));
        let told = events(&mut of_deaf).len();
        assert!(told <= 4, "{told}");
        let (text, _) = finish(&mut of_deaf);
        assert!(!text.is_empty(), "once there is room it goes on");
        bench.intake.close();
        engine.join().unwrap();
    });
}

#[test]
fn what_is_under_way_is_finished_unless_there_is_no_time() {
    for is_abandoned in [false, true] {
        let bench = Bench::new(1);
        bench.watch.hold(2);
        let (running, mut receiver) = job(&[310], 5);
        bench.intake.admit(vec![running]).unwrap();
        thread::scope(|scope| {
            let engine = bench.start(scope);
            bench.watch.wait_for(3);
            if is_abandoned {
                bench.intake.abandon()
            } else {
                bench.intake.close()
            }
            bench.watch.release();
            let (text, last) = finish(&mut receiver);
            match is_abandoned {
                false => assert_eq!((text, usage(&last).generated), (bench.text(311..316), 5)),
                true => assert!(matches!(&last, Event::Failed(problem) if problem.status == 503), "{last:?}"),
            }
            engine.join().unwrap();
        });
    }
}

#[test]
fn a_request_that_no_model_can_answer_is_refused() {
    let bench = Bench::new(1);
    let ((long, mut receiver), (unknown, mut of_unknown)) = (job(&[10; 65], 5), job(&[5000], 5));
    bench.intake.admit(vec![long, unknown]).unwrap();
    thread::scope(|scope| {
        let engine = bench.start(scope);
        for receiver in [&mut receiver, &mut of_unknown] {
            assert!(matches!(finish(receiver).1, Event::Failed(problem) if problem.status == 400));
        }
        bench.intake.close();
        engine.join().unwrap();
    });
}
