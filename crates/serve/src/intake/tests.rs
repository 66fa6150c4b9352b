//! Who gets a place, who is sent away, and who leaves.

use super::{Event, Intake};
use crate::fixtures::{events, job};

#[test]
fn free_slots_and_the_queue_are_all_the_room_there_is() {
    let intake = Intake::new(2, 1);
    let (jobs, _receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| job(&[1], 1)).unzip();
    let mut jobs = jobs.into_iter();
    let mut next = |count: usize| jobs.by_ref().take(count).collect::<Vec<_>>();
    intake.admit(next(2)).unwrap();
    assert_eq!(intake.take(2, true, false).jobs.len(), 2);
    assert_eq!(intake.load(), (2, 0));
    intake.admit(next(1)).unwrap();
    assert_eq!(intake.load(), (2, 1));
    let problem = intake.admit(next(1)).unwrap_err();
    assert_eq!((problem.status, problem.retry_after), (429, Some(1)));
    intake.free(Some(10.0));
    let (again, _receiver) = job(&[1], 1);
    intake.admit(vec![again]).expect("one waits for the slot that is free, one in the queue");
}

#[test]
fn the_jobs_of_a_request_are_taken_together_or_not_at_all() {
    let intake = Intake::new(1, 1);
    let (jobs, _receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| job(&[1], 1)).unzip();
    assert_eq!(intake.capacity(), 2);
    assert_eq!(intake.admit(jobs).unwrap_err().status, 429);
    assert_eq!(intake.load(), (0, 0));
}

#[test]
fn patience_grows_with_the_queue_and_the_time_that_answers_take() {
    let intake = Intake::new(2, 40);
    let (jobs, _receivers): (Vec<_>, Vec<_>) = (0..42).map(|_| job(&[1], 1)).unzip();
    intake.admit(jobs).unwrap();
    intake.free(Some(8.0));
    let (more, _receiver) = job(&[1], 1);
    // Half of the 42 that wait, two at a time, 8 seconds each.
    assert_eq!(intake.admit(vec![more]).unwrap_err().retry_after, Some(84));
}

#[test]
fn clients_that_go_away_leave_the_queue() {
    let intake = Intake::new(1, 1);
    let ((first, _first), (second, gone), (third, _third)) = (job(&[1], 1), job(&[2], 1), job(&[3], 1));
    intake.admit(vec![first]).unwrap();
    assert_eq!(intake.take(1, true, false).jobs.len(), 1);
    intake.admit(vec![second]).unwrap();
    drop(gone);
    intake.admit(vec![third]).expect("the place of the second is free");
    intake.free(None);
    let taken = intake.take(1, true, false);
    assert_eq!(taken.jobs[0].request.prompt, [3]);
}

#[test]
fn a_closed_queue_refuses_who_waits_and_who_comes() {
    let intake = Intake::new(1, 4);
    let ((first, mut receiver), (second, _second)) = (job(&[1], 1), job(&[2], 1));
    intake.admit(vec![first]).unwrap();
    intake.close();
    let told = events(&mut receiver);
    assert!(matches!(&told[..], [Event::Failed(problem)] if problem.status == 503), "{told:?}");
    assert_eq!(intake.admit(vec![second]).unwrap_err().status, 503);
    assert!(intake.take(1, true, false).is_last);
    assert!(!intake.take(1, false, false).is_last, "answers under way go on");
}

#[test]
fn an_engine_that_has_ended_is_a_fault() {
    let intake = Intake::new(1, 4);
    intake.end();
    let (first, _receiver) = job(&[1], 1);
    assert_eq!(intake.admit(vec![first]).unwrap_err().status, 500);
}

#[test]
fn a_request_has_a_place_while_it_is_prepared() {
    let intake = Intake::new(1, 1);
    let places = [intake.enter().unwrap(), intake.enter().unwrap()];
    assert_eq!(intake.load(), (0, 2));
    assert_eq!(intake.enter().unwrap_err().status, 429);
    drop(places);
    assert_eq!(intake.load(), (0, 0));
    intake.close();
    assert_eq!(intake.enter().unwrap_err().status, 503);
}
