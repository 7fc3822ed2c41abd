//! Where two traces part. It shows the place and says nothing of the cause.

use std::fmt;

/// Lines before the first difference that are shown.
const BEFORE: usize = 3;
/// Lines of each side that are shown from there on.
const AFTER: usize = 3;

/// The first line in which two texts differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its number, counted from 1.
    pub line: usize,
    /// What both have before it, at most three lines.
    pub before: Vec<String>,
    /// What the first one goes on with, at most three lines; none if it ends there.
    pub one: Vec<String>,
    /// The second one.
    pub other: Vec<String>,
}

/// The first difference of two texts; `None` if they are the same, byte for byte.
pub fn difference(one: &str, other: &str) -> Option<Difference> {
    if one == other {
        return None;
    }
    let same = one.split('\n').zip(other.split('\n')).take_while(|(a, b)| a == b).count();
    let from = |text: &str| text.split('\n').skip(same).take(AFTER).map(str::to_owned).collect();
    let before = one.split('\n').take(same).skip(same.saturating_sub(BEFORE)).map(str::to_owned).collect();
    Some(Difference { line: same + 1, before, one: from(one), other: from(other) })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the first difference is in line {}:", self.line)?;
        let sides = [("  ", &self.before), ("- ", &self.one), ("+ ", &self.other)];
        for (mark, lines) in sides {
            for line in lines {
                write!(f, "\n    {mark}{line}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_shown_with_what_came_before() {
        assert_eq!(difference("a\nb\n", "a\nb\n"), None);
        let found = difference("1\n2\n3\n4\n5\n6\n", "1\n2\n3\n4\nfive\n6\n").unwrap();
        assert_eq!(found.line, 5);
        assert_eq!(found.before, ["2", "3", "4"]);
        assert_eq!(found.one, ["5", "6", ""]);
        assert_eq!(found.other, ["five", "6", ""]);
        assert_eq!(
            found.to_string(),
            "the first difference is in line 5:\n      2\n      3\n      4\n    - 5\n    - 6\n    - \n    + five\n    + 6\n    + "
        );
    }

    #[test]
    fn a_text_that_ends_early_differs_there() {
        let found = difference("a\nb", "a").unwrap();
        assert_eq!((found.line, found.one, found.other), (2, vec!["b".to_owned()], Vec::new()));
        // Only the last line's end is missing.
        assert_eq!(difference("a\n", "a").unwrap().line, 2);
    }
}
