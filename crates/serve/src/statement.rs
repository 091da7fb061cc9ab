//! From text to statements that may be planned.

use crate::limits::OPERATORS_MAX;
use crate::refusal::{Reason, Refusal};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// Longest text between quotes, bytes. A constant is repeated for every row of a batch.
const LITERAL_BYTES_MAX: usize = 4096;

/// Refuses what would be too deep or too wide to be planned, before anything recurses over it.
pub(crate) fn measure(sql: &str, bytes_max: usize) -> Result<(), Refusal> {
    let too = |message: String| Err(Refusal::new(Reason::Size, message));
    if sql.len() > bytes_max {
        return too(format!("the statement has {} bytes, and {bytes_max} are taken", sql.len()));
    }
    // What is no SQL is left for the parser to explain.
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() else { return Ok(()) };
    let operators = tokens.iter().filter(|token| deepens(token)).count();
    if operators > OPERATORS_MAX {
        return too(format!(
            "the statement has {operators} operators, and {OPERATORS_MAX} are taken; a long list is shorter as x IN (..)"
        ));
    }
    for token in &tokens {
        let (Token::SingleQuotedString(text)
        | Token::NationalStringLiteral(text)
        | Token::EscapedStringLiteral(text)
        | Token::UnicodeStringLiteral(text)
        | Token::HexStringLiteral(text)) = token
        else {
            continue;
        };
        if text.len() > LITERAL_BYTES_MAX {
            return too(format!("a text in the statement has {} bytes, and {LITERAL_BYTES_MAX} are taken", text.len()));
        }
    }
    Ok(())
}

/// Whether a token may add a level to the tree. Commas, names and constants only widen it.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::JOIN
                | Keyword::SELECT
                | Keyword::CASE
        ),
        Token::Whitespace(_)
        | Token::Comma
        | Token::Number(..)
        | Token::Period
        | Token::SingleQuotedString(_)
        | Token::SemiColon
        | Token::RParen
        | Token::RBracket
        | Token::RBrace
        | Token::Placeholder(_)
        | Token::EOF => false,
        // Every sign: + - * / || :: -> ( [ and what may come.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_is_taken_and_deep_is_not() {
        let ids: Vec<String> = (0..5_000).map(|n| format!("'{n:020}'")).collect();
        let list = format!("SELECT * FROM readings WHERE participant_id IN ({})", ids.join(", "));
        measure(&list, 1 << 20).unwrap();
        assert_eq!(measure(&list, 1 << 10).unwrap_err().reason, Reason::Size);
        for deep in [
            format!("SELECT {}1", "1 + ".repeat(5_000)),
            format!("SELECT {}1", "- ".repeat(5_000)),
            format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
            format!("SELECT {}true", "NOT ".repeat(5_000)),
            format!("SELECT 1{}", "::int".repeat(5_000)),
            format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(5_000)),
            format!("SELECT a{}", "[1]".repeat(5_000)),
        ] {
            assert_eq!(measure(&deep, 1 << 20).unwrap_err().reason, Reason::Size, "{}", &deep[..30]);
        }
        let text = format!("SELECT '{}'", "x".repeat(5_000));
        assert_eq!(measure(&text, 1 << 20).unwrap_err().reason, Reason::Size);
    }
}
