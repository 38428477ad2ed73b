//! The client's trait for what is lent. All that returns values reads its result to the end, where the client leaves that to a `Drop` which
//! swallows errors; the methods that are not here are made of these.
#![forbid(unsafe_code)]

use mysql::prelude::{AsStatement, FromRow, Protocol, Queryable};
use mysql::{Binary, Conn, FromRowError, Params, QueryResult, Result, Row, Statement, Text, from_row, from_row_opt};

use super::connection::MysqlConnection;

/// What a conversion of a row has made of it.
type Converted<T> = std::result::Result<T, FromRowError>;

impl MysqlConnection {
    /// All rows of the first result set, and the rest of the answer.
    fn fold_all<P, U>(
        &mut self,
        begin: impl for<'a> FnOnce(&'a mut Conn) -> Result<QueryResult<'a, 'a, 'a, P>>,
        init: U,
        mut next: impl FnMut(U, Row) -> U,
    ) -> Result<U>
    where
        P: Protocol,
    {
        self.call(|conn| {
            let mut result = begin(conn)?;
            let mut folded = init;
            for row in result.by_ref() {
                folded = next(folded, row?);
            }
            // The sets that come after it.
            while let Some(set) = result.iter() {
                for row in set {
                    row?;
                }
            }
            Ok(folded)
        })
    }
}

fn first(first: Option<Row>, row: Row) -> Option<Row> {
    first.or(Some(row))
}

impl Queryable for MysqlConnection {
    fn query_iter<Q: AsRef<str>>(&mut self, query: Q) -> Result<QueryResult<'_, '_, '_, Text>> {
        self.begin()?.query_iter(query)
    }

    fn prep<Q: AsRef<str>>(&mut self, query: Q) -> Result<Statement> {
        self.call(|conn| conn.prep(query))
    }

    fn close(&mut self, statement: Statement) -> Result<()> {
        self.call(|conn| conn.close(statement))
    }

    fn exec_iter<S, P>(&mut self, statement: S, params: P) -> Result<QueryResult<'_, '_, '_, Binary>>
    where
        S: AsStatement,
        P: Into<Params>,
    {
        self.begin()?.exec_iter(statement, params)
    }

    fn exec_batch<S, P, I>(&mut self, statement: S, params: I) -> Result<()>
    where
        S: AsStatement,
        P: Into<Params>,
        I: IntoIterator<Item = P>,
    {
        // The client drops the results of a batch itself.
        let batched = self.begin()?.exec_batch(statement, params);
        batched.inspect_err(|error| self.failed(error))
    }

    fn query_first<T, Q>(&mut self, query: Q) -> Result<Option<T>>
    where
        Q: AsRef<str>,
        T: FromRow,
    {
        Ok(self.fold_all(|conn| conn.query_iter(query), None, first)?.map(from_row))
    }

    fn query_first_opt<T, Q>(&mut self, query: Q) -> Result<Option<Converted<T>>>
    where
        Q: AsRef<str>,
        T: FromRow,
    {
        Ok(self.fold_all(|conn| conn.query_iter(query), None, first)?.map(from_row_opt))
    }

    fn query_fold<T, F, Q, U>(&mut self, query: Q, init: U, mut next: F) -> Result<U>
    where
        Q: AsRef<str>,
        T: FromRow,
        F: FnMut(U, T) -> U,
    {
        self.fold_all(|conn| conn.query_iter(query), init, |folded, row| next(folded, from_row(row)))
    }

    fn query_fold_opt<T, F, Q, U>(&mut self, query: Q, init: U, mut next: F) -> Result<U>
    where
        Q: AsRef<str>,
        T: FromRow,
        F: FnMut(U, Converted<T>) -> U,
    {
        self.fold_all(|conn| conn.query_iter(query), init, |folded, row| next(folded, from_row_opt(row)))
    }

    fn query_drop<Q>(&mut self, query: Q) -> Result<()>
    where
        Q: AsRef<str>,
    {
        self.fold_all(|conn| conn.query_iter(query), (), |(), _| ())
    }

    fn exec_first<T, S, P>(&mut self, statement: S, params: P) -> Result<Option<T>>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
    {
        Ok(self.fold_all(|conn| conn.exec_iter(statement, params), None, first)?.map(from_row))
    }

    fn exec_first_opt<T, S, P>(&mut self, statement: S, params: P) -> Result<Option<Converted<T>>>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
    {
        Ok(self.fold_all(|conn| conn.exec_iter(statement, params), None, first)?.map(from_row_opt))
    }

    fn exec_fold<T, S, P, U, F>(&mut self, statement: S, params: P, init: U, mut next: F) -> Result<U>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
        F: FnMut(U, T) -> U,
    {
        self.fold_all(|conn| conn.exec_iter(statement, params), init, |folded, row| next(folded, from_row(row)))
    }

    fn exec_fold_opt<T, S, P, U, F>(&mut self, statement: S, params: P, init: U, mut next: F) -> Result<U>
    where
        S: AsStatement,
        P: Into<Params>,
        T: FromRow,
        F: FnMut(U, Converted<T>) -> U,
    {
        self.fold_all(|conn| conn.exec_iter(statement, params), init, |folded, row| next(folded, from_row_opt(row)))
    }

    fn exec_drop<S, P>(&mut self, statement: S, params: P) -> Result<()>
    where
        S: AsStatement,
        P: Into<Params>,
    {
        self.fold_all(|conn| conn.exec_iter(statement, params), (), |(), _| ())
    }
}
