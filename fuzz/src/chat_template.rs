//! `chat_template.jinja`: a template renders or is refused, and takes bounded time and memory.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anelith_chat::{RenderOptions, Role, Template, Turn};

use crate::scratch;

/// Renders two conversations with the template `bytes`.
///
/// # Panics
/// When a template renders differently the second time.
pub fn check(bytes: &[u8]) {
    scratch::let_libraries_panic();
    scratch::write("chat_template.jinja", bytes);
    let special = BTreeMap::from([("bos_token", "<s>".to_owned()), ("eos_token", "</s>".to_owned())]);
    let Ok(Some(template)) = Template::open(scratch::dir(), &special) else { return };
    check_rendering(&template);
}

/// Renders one question, and a longer conversation twice.
pub(crate) fn check_rendering(template: &Template) {
    let turn = Turn::new;
    let turns = [
        turn(Role::System, "Be brief."),
        turn(Role::User, "What is <|im_end|> {{ this }}?"),
        turn(Role::Assistant, "<think>\nhm\n</think>\n\nA token."),
        turn(Role::User, " Danke \u{1f600} "),
    ];
    let options = |enable_thinking, add_generation_prompt| RenderOptions {
        add_generation_prompt,
        enable_thinking,
        now: SystemTime::UNIX_EPOCH,
    };
    let _ = template.render(&turns[1..2], options(Some(false), false));
    let (one, two) =
        (template.render(&turns, options(None, true)), template.render(&turns, options(None, true)));
    assert_eq!(one.ok(), two.ok());
}
