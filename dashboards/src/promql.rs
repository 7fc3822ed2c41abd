//! What a PromQL expression selects: its metrics, matchers and windows, and the functions around them. It does not judge
//! whether the expression is right as a whole: Prometheus does, wherever these are checked.

use std::ops::Range;

/// One selector of an expression, such as `name{label="value"}[5m]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Its metric; empty if only matchers say what is meant.
    pub metric: String,
    /// Its matchers.
    pub matchers: Vec<Matcher>,
    /// What stands in its brackets, if it is a range.
    pub window: Option<String>,
    /// Functions and aggregations around it, the outermost first.
    pub within: Vec<String>,
    /// As it stands there, without the window.
    pub text: String,
}

/// One matcher of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    /// The label.
    pub label: String,
    /// `=`, `!=`, `=~` or `!~`.
    pub op: String,
    /// The value, without quotes.
    pub value: String,
}

impl Selector {
    /// Whether there is such a matcher.
    pub fn has(&self, label: &str, op: &str, value: &str) -> bool {
        self.matchers.iter().any(|m| m.label == label && m.op == op && m.value == value)
    }
}

/// All selectors of an expression, in their order.
///
/// # Errors
/// When it has no shape: brackets that don't match, a string without end.
pub fn selectors(expression: &str) -> Result<Vec<Selector>, String> {
    let tokens = tokens(expression)?;
    balanced(&tokens)?;
    let mut reader = Reader { text: expression, tokens: &tokens, at: 0, open: Vec::new(), found: Vec::new() };
    reader.read()?;
    Ok(reader.found)
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// Names, keywords, numbers and durations.
    Word(String),
    /// A string's content, as written.
    Text(String),
    Sign(String),
}

/// Tokens, with where they stand.
type Tokens = Vec<(Token, Range<usize>)>;

fn tokens(text: &str) -> Result<Tokens, String> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let token = match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            quote @ (b'"' | b'\'' | b'`') => {
                at = end_of_string(bytes, at, quote).ok_or("a string has no end")?;
                Token::Text(text[start + 1..at - 1].to_owned())
            }
            b if is_word(b) => {
                while at < bytes.len() && (is_word(bytes[at]) || bytes[at] == b'.') {
                    at += 1;
                }
                Token::Word(text[start..at].to_owned())
            }
            b'=' | b'!' | b'<' | b'>' if bytes.get(at + 1).is_some_and(|b| matches!(b, b'=' | b'~')) => {
                at += 2;
                Token::Sign(text[start..at].to_owned())
            }
            _ => {
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                Token::Sign(text[start..at].to_owned())
            }
        };
        tokens.push((token, start..at));
    }
    Ok(tokens)
}

/// `$` begins Grafana's variables, which stand for durations as well.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'$')
}

fn end_of_string(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote != b'`' => at += 2,
            b if b == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn balanced(tokens: &Tokens) -> Result<(), String> {
    let mut open = Vec::new();
    for (token, _) in tokens {
        let Token::Sign(sign) = token else { continue };
        match sign.as_str() {
            "(" => open.push(")"),
            "[" => open.push("]"),
            "{" => open.push("}"),
            ")" | "]" | "}" if open.pop() != Some(sign) => return Err(format!("`{sign}` closes nothing")),
            _ => {}
        }
    }
    open.pop().map_or(Ok(()), |missing| Err(format!("`{missing}` is missing")))
}

struct Reader<'a> {
    text: &'a str,
    tokens: &'a Tokens,
    at: usize,
    /// One a parenthesis: the function before it, or nothing.
    open: Vec<String>,
    found: Vec<Selector>,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), String> {
        while let Some((token, _)) = self.tokens.get(self.at) {
            match token {
                Token::Word(word) if LISTS.contains(&word.as_str()) => self.skip_list(),
                Token::Word(word) if KEYWORDS.contains(&word.as_str()) || is_number(word) => self.at += 1,
                Token::Word(word) if self.is_function() => {
                    self.open.push(word.clone());
                    self.pass_head();
                }
                Token::Word(word) => self.selector(word.clone())?,
                Token::Sign(sign) if sign == "{" => self.selector(String::new())?,
                Token::Sign(sign) => {
                    match sign.as_str() {
                        "(" => self.open.push(String::new()),
                        ")" => drop(self.open.pop()),
                        _ => {}
                    }
                    self.at += 1;
                }
                Token::Text(_) => self.at += 1,
            }
        }
        Ok(())
    }

    /// `name(`, or an aggregation with its labels first: `sum by (a) (`.
    fn is_function(&self) -> bool {
        self.sign(self.at + 1) == "(" || matches!(self.word(self.at + 1), "by" | "without")
    }

    fn pass_head(&mut self) {
        self.at += 1;
        if matches!(self.word(self.at), "by" | "without") {
            self.skip_list();
        }
        // The parenthesis is the function's own.
        self.at += 1;
    }

    /// A keyword and its labels, if it has any.
    fn skip_list(&mut self) {
        self.at += 1;
        if self.sign(self.at) == "(" {
            while self.at < self.tokens.len() && self.sign(self.at) != ")" {
                self.at += 1;
            }
            self.at += 1;
        }
    }

    fn selector(&mut self, metric: String) -> Result<(), String> {
        let start = self.tokens[self.at].1.start;
        if !metric.is_empty() {
            self.at += 1;
        }
        let mut matchers = Vec::new();
        if self.sign(self.at) == "{" {
            self.at += 1;
            while self.sign(self.at) != "}" {
                matchers.push(self.matcher()?);
                if self.sign(self.at) == "," {
                    self.at += 1;
                }
            }
            self.at += 1;
        }
        let text = self.text[start..self.tokens[self.at - 1].1.end].to_owned();
        let window = (self.sign(self.at) == "[").then(|| {
            let from = self.tokens[self.at].1.end;
            while self.sign(self.at) != "]" {
                self.at += 1;
            }
            self.at += 1;
            self.text[from..self.tokens[self.at - 1].1.start].to_owned()
        });
        let within = self.open.iter().filter(|name| !name.is_empty()).cloned().collect();
        self.found.push(Selector { metric, matchers, window, within, text });
        Ok(())
    }

    fn matcher(&mut self) -> Result<Matcher, String> {
        let (label, op) = (self.word(self.at).to_owned(), self.sign(self.at + 1).to_owned());
        match self.tokens.get(self.at + 2) {
            Some((Token::Text(value), _)) if !label.is_empty() && MATCHES.contains(&op.as_str()) => {
                self.at += 3;
                Ok(Matcher { label, op, value: value.clone() })
            }
            _ => Err(format!("a matcher near `{label}` is none")),
        }
    }

    fn word(&self, at: usize) -> &str {
        match self.tokens.get(at) {
            Some((Token::Word(word), _)) => word,
            _ => "",
        }
    }

    fn sign(&self, at: usize) -> &str {
        match self.tokens.get(at) {
            Some((Token::Sign(sign), _)) => sign,
            _ => "",
        }
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit() || c == '.') || matches!(word, "Inf" | "NaN")
}

const MATCHES: [&str; 4] = ["=", "!=", "=~", "!~"];
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const KEYWORDS: [&str; 8] = ["and", "or", "unless", "bool", "offset", "start", "end", "atan2"];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(expression: &str, expect: &[(&str, &str, &str)]) {
        let found = selectors(expression).expect("it has a shape");
        let found = found
            .iter()
            .map(|s| (s.text.as_str(), s.window.as_deref().unwrap_or(""), s.within.join(">")))
            .collect::<Vec<_>>();
        let found = found.iter().map(|(text, window, within)| (*text, *window, within.as_str())).collect::<Vec<_>>();
        assert_eq!(found, expect);
    }

    #[test]
    fn selectors_are_found_with_what_is_around_them() {
        check("up", &[("up", "", "")]);
        check(
            r#"sum by (job, queue) (rate(a_total{job=~"q.*",le="5"}[$__rate_interval])) / 2 > 0"#,
            &[(r#"a_total{job=~"q.*",le="5"}"#, "$__rate_interval", "sum>rate")],
        );
        check(
            "sum(a{b=\"}\"}) by (c) and on (job) (x:y:z > 1e3) or absent({d!~`e`})",
            &[("a{b=\"}\"}", "", "sum"), ("x:y:z", "", ""), ("{d!~`e`}", "", "absent")],
        );
        check(
            "histogram_quantile(0.99, sum by (le) (rate(h_bucket[5m:30s] offset 1h)))",
            &[("h_bucket", "5m:30s", "histogram_quantile>sum>rate")],
        );
    }

    #[test]
    fn matchers_are_taken_apart() {
        let found = selectors(r#"a{b="c",d!~"e|f"}"#).expect("it has a shape");
        assert!(found[0].has("b", "=", "c") && found[0].has("d", "!~", "e|f") && !found[0].has("b", "=~", "c"));
    }

    #[test]
    fn what_has_no_shape_is_told() {
        for wrong in ["sum(a", "a{b=\"c}", "a{b}", "a)", "a[5m", "a{b=\"c\"]"] {
            assert!(selectors(wrong).is_err(), "{wrong}");
        }
    }
}
