//! Staging: what a reader sees before, after and in spite of failures.

use std::io::Write as _;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

const UNWATCHED: Watch<'_> = &|_| true;

fn listed(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_directory_replaces_the_old_one_only_when_committed() {
    let dir = folder();
    let target = dir.path().join("new/a.mlpackage");
    for content in ["first", "second"] {
        let staged = Staged::directory(&target).expect("a staged directory");
        fs::write(staged.path().join(content), content).expect("a file");
        assert!(!target.join(content).exists());
        staged.commit().expect("a commit");
        assert_eq!(listed(&target), [content]);
        assert_eq!(listed(&dir.path().join("new")), ["a.mlpackage"]);
    }
}

#[test]
fn a_dropped_stage_leaves_nothing_and_the_target_alone() {
    let dir = folder();
    let target = dir.path().join("a");
    write_file(&target, b"old").expect("a file");
    let staged = Staged::file(&target).expect("a staged file");
    fs::write(staged.path(), b"half").expect("a file");
    drop(staged);
    assert_eq!(listed(dir.path()), ["a"]);
    assert_eq!(fs::read(&target).expect("a file"), b"old");
}

#[test]
fn what_a_killed_run_left_is_cleared_or_put_back() {
    let dir = folder();
    let target = dir.path().join("a");
    fs::create_dir(dir.path().join(".a.partial")).expect("a folder");
    fs::write(dir.path().join(".a.partial/half"), b"").expect("a file");
    fs::create_dir(dir.path().join(".a.old")).expect("a folder");
    fs::write(dir.path().join(".a.old/whole"), b"").expect("a file");

    let staged = Staged::directory(&target).expect("a staged directory");
    assert_eq!(listed(&target), ["whole"]);
    assert!(listed(staged.path()).is_empty());
    fs::create_dir(dir.path().join(".a.old")).expect("a folder");
    drop(staged);
    Staged::directory(&target).expect("a staged directory").commit().expect("a commit");
    assert_eq!(listed(dir.path()), ["a"]);
    assert!(listed(&target).is_empty());
}

#[test]
fn files_and_directories_do_not_replace_each_other() {
    let dir = folder();
    let error = Staged::file(dir.path()).expect_err("a refusal").to_string();
    assert!(error.ends_with("it is a directory"), "{error}");
    let file = dir.path().join("file");
    write_file(&file, b"").expect("a file");
    let error = Staged::directory(&file).expect_err("a refusal").to_string();
    assert!(error.starts_with("cannot replace") && error.ends_with("it is not a directory"), "{error}");
    assert!(Staged::directory(&dir.path().join("..")).is_err());
    assert_eq!(listed(dir.path()), ["file"]);
}

#[test]
fn an_error_names_the_action_and_the_path() {
    let dir = folder();
    write_file(&dir.path().join("file"), b"").expect("a file");
    let error = write_file(&dir.path().join("file/below"), b"").expect_err("a refusal").to_string();
    assert!(error.starts_with("cannot create ") && error.contains("file"), "{error}");
    let error =
        share_file(&dir.path().join("missing"), &dir.path().join("b"), UNWATCHED).expect_err("a refusal");
    assert!(error.to_string().starts_with("cannot open "), "{error}");
}

#[test]
fn sharing_replaces_the_target_and_leaves_the_source_whole() {
    let dir = folder();
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    write_file(&source, b"weights").expect("a file");
    write_file(&dest, b"stale").expect("a file");
    for _ in 0..2 {
        share_file(&source, &dest, UNWATCHED).expect("a shared file");
        assert_eq!(fs::read(&dest).expect("a file"), b"weights");
        assert_eq!(listed(dir.path()), ["dest", "source"]);
    }
    share_file(&source, &source, UNWATCHED).expect("nothing to do");
    assert_eq!(fs::read(&source).expect("a file"), b"weights");

    write_file(&dest, b"new").expect("a file");
    assert_eq!(fs::read(&source).expect("a file"), b"weights");
}

#[cfg(unix)]
#[test]
fn sharing_follows_a_symbolic_link_to_the_file() {
    let dir = folder();
    let (source, link, dest) = (dir.path().join("source"), dir.path().join("link"), dir.path().join("dest"));
    write_file(&source, b"weights").expect("a file");
    std::os::unix::fs::symlink("source", &link).expect("a link");
    share_file(&link, &dest, UNWATCHED).expect("a shared file");
    assert!(fs::symlink_metadata(&dest).expect("a file").is_file());
}

#[test]
fn a_directory_is_cleared_of_what_killed_runs_left_and_of_nothing_else() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    for name in
        [".a.mlpackage.partial", ".b.mlmodelc.old", "b.mlmodelc", ".c.mlpackage.old", ".d.old", "e.partial"]
    {
        fs::create_dir(at(name)).expect("a folder");
        fs::write(at(name).join("inside"), name).expect("a file");
    }
    for name in [
        ".anelith-one.partial",
        ".anelith-other.partial",
        ".meta.yaml.partial",
        ".mine.partial",
        ".partial",
        ".mlpackage",
    ] {
        fs::write(at(name), "").expect("a file");
    }
    clear_partials(dir.path(), &["meta.yaml"]).expect("cleared");
    let kept =
        [".d.old", ".mine.partial", ".mlpackage", ".partial", "b.mlmodelc", "c.mlpackage", "e.partial"];
    assert_eq!(listed(dir.path()), kept);
    assert_eq!(fs::read(at("b.mlmodelc/inside")).expect("the new one"), b"b.mlmodelc");
    assert_eq!(fs::read(at("c.mlpackage/inside")).expect("the old one"), b".c.mlpackage.old");
}

#[test]
fn trying_to_share_leaves_nothing() {
    let dir = folder();
    fs::write(dir.path().join(".anelith-other.partial"), "of a killed run").expect("a file");
    assert!(can_share(dir.path()).is_some());
    assert!(listed(dir.path()).is_empty());
    assert_eq!(can_share(&dir.path().join("none")), None);
}

#[test]
fn a_copy_is_a_file_of_its_own_even_in_the_place_of_a_link() {
    let dir = folder();
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let long: Vec<u8> = (0..(5 << 20) / 2u32).map(|n| (n % 251) as u8).collect();
    for (contents, case) in [(&long[..], "pieces"), (b"", "nothing")] {
        write_file(&source, contents).expect("a file");
        let _ = fs::remove_file(&dest);
        fs::hard_link(&source, &dest).expect("a link");
        let copied = std::cell::Cell::new(0);
        let watch = |bytes| {
            copied.set(copied.get() + bytes);
            true
        };
        copy_file(&source, &dest, &watch).expect("a copy");
        assert_eq!(copied.get(), contents.len() as u64, "{case}");
        assert_own(&source, &dest);
        // A file is separated from its other names.
        fs::remove_file(&dest).expect("a file");
        fs::hard_link(&source, &dest).expect("a link");
        copy_file(&source, &source, UNWATCHED).expect("a copy");
        assert_own(&source, &dest);
        assert_eq!(fs::read(&dest).expect("a file"), contents, "{case}");
        // What writes in place reaches one of them.
        fs::OpenOptions::new().append(true).open(&dest).expect("a file").write_all(b"!").expect("room");
        assert_eq!(fs::read(&source).expect("a file"), contents, "{case}");
    }
    assert_eq!(listed(dir.path()), ["dest", "source"]);
}

#[track_caller]
fn assert_own(a: &Path, b: &Path) {
    if cfg!(unix) {
        let [a, b] = [a, b].map(|path| names(path).expect("a file"));
        assert!(a.file != b.file && a.count == 1 && b.count == 1, "{a:?} {b:?}");
    }
}

#[test]
fn a_copy_that_is_stopped_leaves_what_was_there() {
    let dir = folder();
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    write_file(&source, &[7; (2 << 20) + 1]).expect("a file");
    write_file(&dest, b"old").expect("a file");
    for allowed in 0..3 {
        let left = std::cell::Cell::new(allowed);
        let watch = |_| left.replace(left.get() - 1) > 0;
        let error = copy_file(&source, &dest, &watch).expect_err("an interruption");
        let is_interrupted =
            |e: &Error| matches!(e, Error::Io { source, .. } if source.kind() == io::ErrorKind::Interrupted);
        assert!(is_interrupted(&error), "{error}");
        assert_eq!(fs::read(&dest).expect("a file"), b"old");
        assert_eq!(listed(dir.path()), ["dest", "source"]);
    }
}

#[test]
fn a_directory_is_copied_with_all_it_holds_and_no_links() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("a/below/empty")).expect("a folder");
    write_file(&at("a/one"), b"1").expect("a file");
    fs::hard_link(at("a/one"), at("a/below/other")).expect("a link");
    fs::create_dir(at("b")).expect("a folder");
    copy_directory(&at("a"), &at("b"), UNWATCHED).expect("a copy");
    assert_eq!(listed(&at("b")), ["below", "one"]);
    assert_eq!(listed(&at("b/below")), ["empty", "other"]);
    assert_eq!(fs::read(at("b/below/other")).expect("a file"), b"1");
    assert_own(&at("b/one"), &at("b/below/other"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("one", at("a/link")).expect("a link");
        fs::create_dir(at("c")).expect("a folder");
        let error = copy_directory(&at("a"), &at("c"), UNWATCHED).expect_err("a refusal").to_string();
        assert!(error.contains("link is not supported"), "{error}");
    }
}
