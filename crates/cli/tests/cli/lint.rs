//! `lint` and `doctor`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::anelith::{Ran, command, converted, demo, run};
use crate::checkpoint::Model;

fn bundle() -> String {
    converted().join("qwen_monolithic_combined.mlmodelc").display().to_string()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// A bundle that differs from the converted one by some words of its program.
fn spoiled(dir: &Path, from: &str, to: &str) -> String {
    let (source, copy) = (bundle(), dir.join("spoiled.mlmodelc"));
    fs::create_dir_all(copy.join("weights")).unwrap();
    for name in ["coremldata.bin", "weights/weight.bin"] {
        fs::copy(Path::new(&source).join(name), copy.join(name)).unwrap();
    }
    let text = fs::read_to_string(Path::new(&source).join("model.mil")).unwrap();
    assert!(text.contains(from), "the program has no `{from}`");
    fs::write(copy.join("model.mil"), text.replace(from, to)).unwrap();
    copy.display().to_string()
}

#[test]
fn what_is_converted_is_clean_on_every_target() {
    let ran = run(["lint", &bundle(), "--strict", "--target", "macos15,ios18,m1,a14"]).status(0);
    ran.prints("0 errors, 0 warnings");
    let package = converted().join("qwen_monolithic_combined.mlpackage").display().to_string();
    let found = json(&run(["lint", &package, "--json"]).status(0));
    assert_eq!((&found["errors"], &found["warnings"]), (&Value::from(0), &Value::from(0)));
    assert_eq!(found["targets"], serde_json::json!(["macos15"]));
}

#[test]
fn findings_end_in_the_status_of_a_gate_unless_they_are_allowed() {
    let dir = TempDir::new().unwrap();
    // The scale of attention scores in both functions becomes an infinity.
    let text = fs::read_to_string(Path::new(&bundle()).join("model.mil")).unwrap();
    let scale = text.split("val = fp16(").nth(1).unwrap().split(')').next().unwrap();
    let broken = spoiled(dir.path(), &format!("val = fp16({scale})"), "val = fp16(-inf)");
    run(["lint", &broken]).status(0).prints("warning[non-finite]").prints("apple/coremltools#2669");
    run(["lint", &broken, "--strict"]).status(4).says("error: ").says("to mend: ");
    run(["lint", &broken, "--strict", "--allow", "non-finite"]).status(0);
    run(["lint", &broken, "--strict", "--rules", "rank,fp32"])
        .status(0)
        .prints("0 errors, 0 warnings, 0 notes");
    let found = json(&run(["lint", &broken, "--json", "--rules", "non-finite"]).status(0));
    let finding = &found["findings"][0];
    assert_eq!(finding["rule"], "non-finite");
    for key in ["severity", "function", "at", "op", "expected", "found", "source", "fix"] {
        assert!(finding[key].is_string(), "{key} in {finding}");
    }
    // An invalid program is explained, not refused.
    let invalid = spoiled(dir.path(), "-> (logits1, ", "-> (logits1, logits1, ");
    run(["lint", &invalid]).status(4).prints("error[valid]").prints("is returned twice");
}

#[test]
fn rules_are_listed_and_named() {
    run(["lint", "--rules"])
        .status(0)
        .prints("state-alignment (error)")
        .prints("source: apple/coremltools#2631");
    run(["lint", "--rules", "uniform-states"]).status(0).prints("on Macs with an M1");
    let rules = json(&run(["lint", "--rules", "--json"]).status(0));
    assert!(rules["rules"].as_array().unwrap().iter().all(|rule| rule["fix"].is_string()));
    run(["lint", &bundle(), "--allow", "no-such-rule"])
        .status(2)
        .says("there is no rule `no-such-rule`")
        .says("rank");
    run(["lint", &bundle(), "--target", "windows"]).status(2).says("macos15");
    run(["lint"]).status(2).says("PACKAGE");
    run(["lint", "no-such.mlpackage"]).status(3).says("does not exist");
    run(["lint", "--help"]).status(0).prints("anelith lint --rules").prints("Exit status:");
}

#[test]
fn a_converted_model_is_looked_at_where_its_meta_yaml_is() {
    let dir = converted().display().to_string();
    let found = json(&run(["lint", &dir, "--json"]).status(0));
    assert_eq!(found["package"], bundle());
}

#[test]
fn names_do_not_command_the_terminal() {
    let dir = TempDir::new().unwrap();
    let name = r#"string("model_layers_0_input_layernorm_transposed")"#;
    let spoiled = spoiled(dir.path(), name, "string(\"\u{1b}[2Jx\")");
    let ran = run(["lint", &spoiled]).status(0).prints("op `\\u{1b}[2Jx`");
    assert!(!ran.stdout.contains('\u{1b}'));
}

#[test]
fn doctor_says_whether_the_hub_answers() {
    let hub = |endpoint: &str| -> Ran {
        let mut command = command(["doctor", "--online"]);
        command.env("HF_HUB_OFFLINE", "0").env("HF_ENDPOINT", endpoint).output().unwrap().into()
    };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", server.local_addr().unwrap());
    let answering = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut asked = [0; 1024];
        let _ = stream.read(&mut asked).unwrap();
        stream.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    hub(&endpoint).status(0).prints("reached   yes");
    answering.join().unwrap();
    hub(&endpoint).status(0).prints("reached   no: ");
    let secret = hub("https://me:hf_a@mirror").status(0).prints("warning: HF_ENDPOINT: ");
    assert!(!secret.stdout.contains("hf_a"));
}

#[test]
fn doctor_tells_of_the_machine_and_never_a_token() {
    let ran: Ran = command(["doctor"]).env("HF_TOKEN", "hf_secret").output().unwrap().into();
    let ran = ran.status(0).prints("runtime uses").prints("disk free").prints("not tried");
    assert!(!ran.stdout.contains("hf_secret") && !ran.stderr.contains("hf_secret"));
    let ran: Ran = command(["doctor", "--json"]).env("HF_TOKEN", "hf_secret").output().unwrap().into();
    let found = json(&ran);
    assert_eq!(found["hub"]["token"], true);
    assert!(found["machine"]["cores"].as_u64().unwrap() > 0);
    assert!(found["machine"]["disk_free"].is_u64());
    assert!(!ran.stdout.contains("hf_secret"));
    run(["doctor", "--help"]).status(0).prints("anelith doctor --model").prints("Exit status:");
}

#[test]
fn doctor_tells_what_would_become_of_a_model() {
    let dir = TempDir::new().unwrap();
    let (model, out) = (demo().display().to_string(), dir.path().join("out").display().to_string());
    let found = json(&run(["doctor", "--model", &model, "--output", &out, "--json"]).status(0));
    assert_eq!(found["model"]["architecture"], "qwen3");
    let size = |lut: &str| found["conversion"][lut].as_u64().unwrap();
    assert!(
        size("lut_4") < size("lut_6") && size("lut_6") < size("lut_8") && size("lut_8") < size("lut_none")
    );
    let written = converted().join("qwen_monolithic_combined.mlmodelc/weights/weight.bin");
    assert_eq!(size("lut_4"), fs::metadata(written).unwrap().len(), "what convert writes");
    assert!(!Path::new(&out).exists(), "nothing is written");
    run(["doctor", "--model", &model, "--output", &out, "--context", "0"]).status(2).prints("architecture");

    let meta = converted().join("meta.yaml").display().to_string();
    run(["doctor", "--meta", &meta]).status(0).prints("infer, prefill").prints("0 errors, 0 warnings");
}

#[test]
fn doctor_says_where_no_output_can_be() {
    let dir = TempDir::new().unwrap();
    let (file, good) = (dir.path().join("file"), dir.path().join("new"));
    fs::write(&file, "").unwrap();
    let doctor = |output: &Path| run(["doctor", "--output", output.to_str().unwrap()]).status(0);
    doctor(&file).prints("file is not a directory");
    doctor(&file.join("below")).prints("file is not a directory");
    assert!(!doctor(&good).stdout.contains("warning"));
    let mut permissions = fs::metadata(dir.path()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(dir.path(), permissions.clone()).unwrap();
    let ran = doctor(&good);
    // Else it cannot be cleared up.
    #[allow(clippy::permissions_set_readonly_false, reason = "the directory is this test's own")]
    permissions.set_readonly(false);
    fs::set_permissions(dir.path(), permissions).unwrap();
    ran.prints("may not be written to");
}

#[test]
fn doctor_says_why_a_model_is_refused() {
    let model = Model::demo().with_config("model_type", "phi3".into());
    let path = model.path().display().to_string();
    let ran =
        run(["doctor", "--model", &path]).status(3).prints("machine").says("Unknown architecture `phi3`");
    assert!(!ran.stdout.contains("lut 4"));
    let found = json(&run(["doctor", "--model", &path, "--json"]).status(3));
    assert!(found["refused"][0].as_str().unwrap().contains("phi3"));
    run(["doctor", "--model", "no/such-model"]).status(3).says("no/such-model");
}
