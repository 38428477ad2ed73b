//! A file of the crate as text: its code without comments, strings and tests, and the arrows that lead out of it.

use std::collections::{BTreeMap, BTreeSet};

/// One file.
pub(crate) struct Source {
    /// Its path below `src/`.
    pub(crate) file: String,
    pub(crate) lines: usize,
    code: String,
    forbids_unsafe: bool,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Source {
        let code = without_comments_and_strings(text);
        let code = code.split("#[cfg(test)]").next().unwrap_or_default();
        let code = code.split("#[cfg(all(test,").next().unwrap_or_default();
        Source {
            file: file.to_owned(),
            lines: text.lines().count(),
            code: code.to_owned(),
            forbids_unsafe: text.contains("#![forbid(unsafe_code)]"),
        }
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.code.split(|c: char| !is_word(c)).filter(|word| !word.is_empty() && *word != "unsafe_code")
    }

    pub(crate) fn forbids_unsafe(&self) -> bool {
        self.forbids_unsafe
    }

    /// `engine/dialing/book.rs` is the module `engine::dialing::book`, `engine/mod.rs` is `engine`.
    fn module(&self) -> Vec<&str> {
        let path = self.file.trim_end_matches(".rs").trim_end_matches("/mod");
        if path == "lib" { Vec::new() } else { path.split('/').collect() }
    }

    /// Every path that begins with `crate`, `super` or `self`, from the crate's root.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        for (at, _) in self.code.match_indices("::") {
            let before = &self.code[..at];
            let begin = before.rfind(|c: char| !is_word(c)).map_or(0, |place| place + 1);
            let from = match &before[begin..] {
                _ if before[..begin].ends_with("::") => continue,
                "crate" => Vec::new(),
                "self" => self.module(),
                "super" => self.module()[..self.module().len() - 1].to_vec(),
                _ => continue,
            };
            let mut rest = &self.code[at + 2..];
            expand(&mut rest, &from.into_iter().map(str::to_owned).collect::<Vec<_>>(), &mut paths);
        }
        paths
    }

    /// The types that have `impl` blocks of their own here, each with the methods that such blocks define.
    fn methods(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut methods: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut name = None;
        for line in self.code.lines() {
            if line.starts_with("impl") {
                name = (!line.contains(" for ")).then(|| implemented(line));
            } else if line.starts_with('}') {
                name = None;
            }
            if let Some(name) = &name
                && let Some((_, function)) = line.split_once("fn ")
            {
                let function: String = function.chars().take_while(|c| is_word(*c)).collect();
                methods.entry(name.clone()).or_default().insert(function);
            }
        }
        methods
    }

    fn calls(&self, method: &str) -> bool {
        ["self", "pool", "engine"].iter().any(|receiver| {
            let call = format!("{receiver}.{method}(");
            self.code.match_indices(&call).any(|(at, _)| !self.code[..at].ends_with(is_word))
        })
    }
}

/// The type after `impl<…>`.
fn implemented(line: &str) -> String {
    let mut depth = 0;
    let rest = line.trim_start_matches("impl");
    let after = rest.char_indices().find(|(_, c)| {
        depth += match c {
            '<' => 1,
            '>' => -1,
            _ => 0,
        };
        depth == 0 && *c == ' '
    });
    rest[after.map_or(0, |(at, _)| at)..].trim_start().chars().take_while(|c| is_word(*c)).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What follows `::`, a name with more after it or a group, each path from the root.
fn expand(rest: &mut &str, from: &[String], into: &mut Vec<Vec<String>>) {
    *rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        *rest = group;
        loop {
            *rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(after) = rest.strip_prefix('}') {
                *rest = after;
                return;
            }
            let before = rest.len();
            expand(rest, from, into);
            if rest.len() == before {
                return;
            }
        }
    }
    let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
    *rest = &rest[name.len()..];
    let mut path = from.to_vec();
    match name.as_str() {
        "super" => drop(path.pop()),
        "self" | "" => {}
        _ => path.push(name),
    }
    match rest.strip_prefix("::") {
        Some(after) => {
            *rest = after;
            expand(rest, &path, into);
        }
        None => {
            if let Some(after) = rest.strip_prefix(" as ") {
                *rest = after.trim_start_matches(is_word);
            }
            into.push(path);
        }
    }
}

/// From which file to which, and by what.
pub(crate) fn arrows(sources: &[Source]) -> BTreeSet<(String, String, String)> {
    let modules: BTreeMap<Vec<&str>, &str> =
        sources.iter().map(|source| (source.module(), source.file.as_str())).collect();
    let mut arrows = BTreeSet::new();
    for source in sources {
        for path in source.paths() {
            // The innermost module that the path goes through.
            let file = (1..=path.len()).rev().find_map(|length| {
                let module: Vec<&str> = path[..length].iter().map(String::as_str).collect();
                modules.get(&module)
            });
            if let Some(file) = file.filter(|file| **file != source.file) {
                arrows.insert((source.file.clone(), (*file).to_owned(), path.join("::")));
            }
        }
    }
    for (name, homes) in homes(sources) {
        for (file, methods) in &homes {
            for source in sources.iter().filter(|source| source.file != *file && homes.contains_key(&source.file)) {
                let own = &homes[&source.file];
                for method in methods.iter().filter(|method| !own.contains(*method) && source.calls(method)) {
                    arrows.insert((source.file.clone(), file.clone(), format!("{name}::{method}")));
                }
            }
        }
    }
    arrows
}

/// The types with `impl` blocks in several files, each with those files and the methods there.
fn homes(sources: &[Source]) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut homes: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for source in sources {
        for (name, methods) in source.methods() {
            homes.entry(name).or_default().insert(source.file.clone(), methods);
        }
    }
    homes.retain(|_, files| files.len() > 1);
    homes
}

/// Line comments, block comments, strings and characters become blanks; what is left stands where it stood.
fn without_comments_and_strings(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].char_indices().find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |(end, _)| end + 2)
        } else if c == '\'' && (rest[1..].starts_with('\\') || rest.chars().nth(2) == Some('\'')) {
            let end = rest[2..].find('\'').map_or(rest.len(), |end| end + 3);
            code.push('\'');
            end
        } else {
            0
        };
        let step = if skipped > 0 { skipped } else { c.len_utf8() };
        let (passed, after) = rest.split_at(step);
        if skipped > 0 {
            code.extend(passed.chars().filter(|c| *c == '\n'));
            code.push(' ');
        } else {
            code.push_str(passed);
        }
        rest = after;
    }
    code
}
