//! Lines of words such as `queue=high weight=3 size=exp:300`: split, looked up, and complained about word by word. What
//! the words mean is said by whoever reads them.

use crate::quantity::Unclear;

/// The words of one line that nobody has read yet.
#[derive(Debug, Clone)]
pub(crate) struct Words<'a> {
    words: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    /// Splits a line of `key=value` words.
    pub(crate) fn parse(line: &'a str) -> Result<Self, Unclear> {
        let pair = |word: &'a str| {
            let pair = word.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty());
            pair.ok_or_else(|| Unclear::new("a word such as key=value", word))
        };
        Ok(Self { words: line.split_whitespace().map(pair).collect::<Result<_, _>>()? })
    }

    /// Takes out the value of a key that may stand once.
    pub(crate) fn one(&mut self, key: &str) -> Result<Option<&'a str>, Unclear> {
        let mut all = self.all(key);
        match (all.pop(), all.is_empty()) {
            (value, true) => Ok(value),
            (Some(second), false) => Err(Unclear::new(format!("{key:?} only once"), second)),
            (None, false) => Ok(None),
        }
    }

    /// Takes out all values of a key, in order.
    pub(crate) fn all(&mut self, key: &str) -> Vec<&'a str> {
        let (found, rest) = self.words.drain(..).partition::<Vec<_>, _>(|(k, _)| *k == key);
        self.words = rest;
        found.into_iter().map(|(_, value)| value).collect()
    }

    /// Reads the value of a key that may stand once.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&'a str) -> Result<T, Unclear>,
    ) -> Result<Option<T>, Unclear> {
        let read = |value| read(value).map_err(|e| Unclear::new(format!("{key}: {}", e.what), e.at));
        self.one(key)?.map(read).transpose()
    }

    /// Complains about a word that nobody read.
    pub(crate) fn end(self, known: &str) -> Result<(), Unclear> {
        match self.words.first() {
            None => Ok(()),
            Some((key, value)) => Err(Unclear::new(format!("one of {known}"), format!("{key}={value}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_once_and_the_rest_is_refused() {
        let mut words = Words::parse("a=1 b=2 a=3 c=4").unwrap();
        assert_eq!(words.all("a"), ["1", "3"]);
        assert_eq!(words.one("b"), Ok(Some("2")));
        assert_eq!(words.one("b"), Ok(None));
        assert_eq!(words.end("a, b").unwrap_err().to_string(), "one of a, b, at \"c=4\"");
        assert!(Words::parse("a=1 a=2").unwrap().one("a").is_err());
        assert!(Words::parse("a").is_err() && Words::parse("=1").is_err() && Words::parse("a=").is_err());
    }
}
