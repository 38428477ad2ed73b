//! What stands beside the code: why an `unsafe` is sound, what an ordering is for, and what a public item's page has to say of errors and
//! panics.
//!
//! Read as text, so these are signs of a comment and no proof of its truth. The form:
//! - an `unsafe` has a `SAFETY:` in the comment above its statement, or in its `# Safety` section;
//! - an `Ordering::X` has a comment above it, in its function, that names X; or its file says that of all ("Relaxed, throughout"). In
//!   `lockfree/`, one that is more than relaxed names its edge (E1 to E9) too, or says why it has none;
//! - a public function that returns a `Result` has an `# Errors` section;
//! - one whose body can panic on its face has a `# Panics` section, or says so. An `unreachable!` is a claim, and none of these.

/// One line of a file.
struct Line<'t> {
    text: &'t str,
    /// Without strings, and without the comment at its end.
    code: String,
}

impl<'t> Line<'t> {
    fn new(text: &'t str) -> Line<'t> {
        let mut code = String::new();
        let (mut in_string, mut before) = (false, ' ');
        for (at, c) in text.char_indices() {
            if !in_string && text[at..].starts_with("//") {
                break;
            }
            if c == '"' && before != '\\' && before != '\'' {
                in_string = !in_string;
            }
            if !in_string {
                code.push(c);
            }
            before = c;
        }
        Line { text, code }
    }

    fn comment(&self) -> Option<&'t str> {
        self.text.find("//").map(|at| &self.text[at..])
    }

    fn is_comment(&self) -> bool {
        self.text.trim_start().starts_with("//")
    }

    fn has_word(&self, word: &str) -> bool {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        self.code
            .match_indices(word)
            .any(|(at, _)| !self.code[..at].ends_with(is_word) && !self.code[at + word.len()..].starts_with(is_word))
    }
}

const ORDERINGS: [&str; 5] = ["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"];

/// What is missing in this file, a line each. What follows the tests' cfg is not looked at.
pub(crate) fn missing(file: &str, text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let text = text.split("#[cfg(all(test,").next().unwrap_or_default();
    let lines: Vec<Line<'_>> = text.lines().map(Line::new).collect();
    let mut faults = Vec::new();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| !line.is_comment()) {
        let mut fault = |what: &str| faults.push(format!("{file}:{}: {what}", number + 1));
        if line.has_word("unsafe")
            && !above(&lines, number).any(|comment| comment.contains("SAFETY:") || comment.contains("# Safety"))
        {
            fault("`unsafe` without SAFETY");
        }
        for ordering in ORDERINGS.into_iter().filter(|ordering| line.code.contains(&format!("Ordering::{ordering}"))) {
            if !names(file, &lines, number, ordering) {
                fault(&format!("Ordering::{ordering} without a word on why"));
            }
        }
        if let Some(name) = public_function(&line.code) {
            let page: String = page(&lines, number);
            let signature = signature(&lines, number);
            // What it returns, not what a closure does that it is given.
            let returned = signature.rsplit_once("->").map_or("", |(_, returned)| returned);
            if page.contains("#[doc(hidden)]") {
                continue;
            }
            if returned.trim_start().starts_with("Result<") || returned.trim_start().starts_with("io::Result<") {
                let errors = ["# Errors", "`Err`", "Fails", "fails", "refuse", "error"];
                if !errors.iter().any(|word| page.contains(word)) {
                    fault(&format!("{name} returns a Result, and its page says nothing of errors"));
                }
            }
            let panics = ["panic!(", ".unwrap()", ".expect(", " assert!(", "assert_eq!("];
            if body(&lines, number).any(|line| panics.iter().any(|word| line.code.contains(word)))
                && !page.contains("anic")
            {
                fault(&format!("{name} may panic, and its page says nothing of it"));
            }
        }
    }
    faults
}

/// The comments above a line, within its paragraph and the attributes and lines of its own statement.
fn above<'t>(lines: &'t [Line<'t>], number: usize) -> impl Iterator<Item = &'t str> {
    lines[number.saturating_sub(12)..=number].iter().filter_map(Line::comment)
}

/// Whether a comment in the same function, or one for all of the file, names this ordering.
fn names(file: &str, lines: &[Line<'_>], number: usize, ordering: &str) -> bool {
    let begin = (0..number).rev().find(|at| {
        let line = &lines[*at];
        line.code.contains("fn ") && !line.is_comment()
    });
    let begin = begin.map_or(0, |mut begin| {
        while begin > 0 && (lines[begin - 1].is_comment() || lines[begin - 1].text.trim_start().starts_with("#[")) {
            begin -= 1;
        }
        begin
    });
    let comments: Vec<&str> = lines[begin..=number].iter().filter_map(Line::comment).collect();
    let whole = comments.concat();
    let both = ordering == "AcqRel" && whole.contains("Acquire") && whole.contains("Release");
    let has = |comment: &&str| both || comment.contains(ordering);
    let for_all = lines.iter().filter_map(Line::comment);
    let for_all = for_all.into_iter().any(|comment| comment.contains(ordering) && comment.contains("throughout"));
    let edge = |comment: &&str| {
        let digit = |(at, _): (usize, &str)| comment[at + 1..].starts_with(|c: char| c.is_ascii_digit());
        comment.match_indices('E').any(digit) || comment.contains("no edge") || comment.contains("lock")
    };
    let strong = file.starts_with("lockfree/") && ordering != "Relaxed";
    for_all || comments.iter().any(has) && (!strong || comments.iter().any(edge))
}

fn public_function(code: &str) -> Option<&str> {
    let rest = code.trim_start().strip_prefix("pub ")?;
    let rest = rest.strip_prefix("const ").unwrap_or(rest).strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// The documentation above an item.
fn page(lines: &[Line<'_>], number: usize) -> String {
    let doc = |line: &&Line<'_>| line.is_comment() || line.text.trim_start().starts_with("#[");
    lines[..number].iter().rev().take_while(doc).map(|line| format!("{}\n", line.text)).collect()
}

/// Up to the brace that begins its body.
fn signature(lines: &[Line<'_>], number: usize) -> String {
    let mut signature = String::new();
    for line in &lines[number..] {
        signature.push_str(&line.code);
        if line.code.contains('{') || line.code.trim_end().ends_with(';') {
            break;
        }
    }
    signature
}

/// Its lines, to the brace that stands under its beginning.
fn body<'t>(lines: &'t [Line<'t>], number: usize) -> impl Iterator<Item = &'t Line<'t>> {
    let indent = lines[number].text.len() - lines[number].text.trim_start().len();
    let ends = move |line: &&Line<'_>| line.text.len() > indent && line.text[indent..].starts_with('}');
    let one_line = lines[number].code.contains('{') && lines[number].code.trim_end().ends_with('}');
    let length = if one_line { 0 } else { lines[number..].iter().position(|line| ends(&line)).unwrap_or(0) };
    lines[number..=number + length].iter()
}
