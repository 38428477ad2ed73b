//! A manager for your client: what it must see to, rule by rule, each with the test that holds the crate's own managers to it.
//!
//! For the clients of [`clients`](crate::clients) it is written. For any other, this is what goes wrong: a dead connection is lent, since
//! the client's own flag says that all is well while nobody reads; one user is answered with what another has asked, since a timeout, a
//! panic or an early return has left an answer on its way; or a dial, a farewell or a return hangs. Tests of a client at rest show none of
//! these.
//!
//! A small one in full is in the [cookbook](crate::cookbook#a-line-protocol-with-a-login); [`Stream`] has the type that counts the replies
//! that it is owed, and [`TcpManager::with_login`] the login where the connection is lent as it is.
//!
//! A test's name is its file under `tests/`, and its function.
//!
//! # What to name to the watch
//!
//! | rule | here | test |
//! |---|---|---|
//! | Name the socket. What a client says of itself (`is_open`, `is_closed`) is true of its last use, not of now | [`Manager::watch`], [`Watch::socket`] | `clients/tests/redis::idle_connections_that_the_server_killed_are_not_lent` |
//! | Give it the type that does the I/O, and have that type say whether it is fit. `on_return` alone forgets a case | [`Stream::is_fit`] | `streams::one_that_is_not_fit_is_discarded_whatever_on_return_says` |
//! | A client that hides its socket lets itself be found: by an option that can be set through it | feature `fdhunt`, [`clients::fdhunt`](crate::clients) | `clients/tests/r2d2::idle_connections_that_the_server_killed_are_not_lent` |
//! | A client that reconnects by itself has another socket, which may have the old number | [`Stream::identity`], [`Watch::identity`] | `streams::one_of_another_identity_is_discarded_whatever_on_return_says` |
//! | A client without a socket names none. Have it asked when it has rested | [`Manager::ping`], [`Builder::validate_after`] | `clients/tests/r2d2::a_connection_that_rests_is_asked` |
//!
//! # The dial
//!
//! | rule | here | test |
//! |---|---|---|
//! | The login is part of the dial, and ends with it. A read timeout does not bound a peer that trickles: have the socket shut down | [`Dial::remaining`], [`Dial::cut_at_deadline`] | `clients/tests/redis::a_frozen_login_ends_with_its_dial` |
//! | A client that shows its socket only when it is connected can be ended all the same | [`Dial::at_deadline`] | `clients/tests/postgres::a_frozen_login_ends_with_its_dial` |
//! | One that can be ended by nothing is left alone, and others are dialed | [`Builder::dials_at_once`] | `clients/tests/r2d2::connects_that_hang_are_left_alone_and_others_are_made` |
//! | What the login has set, such as timeouts, ends with it | [`Stream::restore`] | `clients/tests/mysql::a_frozen_login_ends_with_its_dial_and_its_timeouts_with_the_login` |
//! | A refused login does not go away by itself, and an account may be locked by too many | [`Manager::is_permanent`] | `clients/tests/postgres::a_wrong_password_or_database_is_permanent` |
//!
//! # While it lies idle
//!
//! | rule | here | test |
//! |---|---|---|
//! | Leave `probe_after` at zero. Where nobody speaks unasked, whatever waits is a farewell or an old answer | [`Manager::probe_after`] | `clients/tests/mysql::anything_that_waits_on_an_idle_connection_discards` |
//! | Where the peer may speak, read what is due without waiting, and keep only if nothing else is left | [`Manager::on_idle_data`] | `clients/tests/postgres::what_the_server_says_unasked_is_taken_and_its_farewell_discards` |
//! | A push that came with the last answer is in the client's buffer already: take it at the return | [`Stream::is_fit`] | `clients/tests/redis::pushes_are_taken_and_what_is_none_discards` |
//! | Under TLS a session ticket looks like any other record, and comes late. So does a farewell without a hang-up | [`Manager::on_idle_data`] | `clients/tests/tls::tickets_and_keys_are_taken_and_a_close_notify_or_plain_text_discards` |
//! | A peer that vanished says nothing. Keep-alive and user timeout find it in a minute; a ping when it is lent finds it at once, and is cut | [`TcpManager::user_timeout`], [`Builder::validate_after`] | `validation::one_that_hangs_is_cut_while_there_is_time_for_another` |
//!
//! # What must go dirty
//!
//! | rule | here | test |
//! |---|---|---|
//! | Any I/O error, a timeout first of all: the answer is still to come | [`Conn`] | `clients/tests/redis::a_timeout_poisons_the_connection` |
//! | Also those that the client swallows, in a `Drop` for instance. Where they cannot be seen, ask for a number and compare | the type that is lent | `clients/tests/mysql::a_timeout_costs_the_connection_also_where_the_client_swallows_it` |
//! | More answers due than were read; bytes read ahead that nobody took | [`Stream::is_fit`] | `clients/tests/tls::what_was_received_and_not_read_costs_the_stream` |
//! | A result that was not read to its end, unless the client reads on by itself | [`Manager::on_return`] | `clients/tests/postgres::a_result_that_was_not_read_to_its_end_costs_the_connection` |
//! | What the next user would inherit: a transaction, another database, a subscription. Reset it at the return, or discard | [`Manager::on_return`] | `clients/tests/redis::what_a_user_leaves_in_a_session_costs_the_connection` |
//! | Not: an error that the peer reported in a whole answer. Let the connection tell, or look at the error | [`Manager::on_error`] | `clients/tests/postgres::a_duplicate_key_costs_no_connection` |
//! | And then ask with late answers, cuts, early returns and panics, whether each request gets its own answer | a proxy with faults | `clients/tests/redis::no_answer_reaches_another_user` |
//!
//! # Users
//!
//! | rule | here | test |
//! |---|---|---|
//! | [`with`](crate::Pool::with) hears of an error and of a panic. A lease that is dropped after a `?` says that all went well, unless its connection knows better | [`Lease::fail`](crate::Lease::fail) | `clients/tests/r2d2::a_use_that_failed_or_panicked_costs_its_connection` |
//! | A timeout that a user sets must end with their use | [`Stream::restore`] | `clients/tests/redis::a_stock_connections_timeouts_end_with_their_use` |
//! | One who holds a connection to a frozen peer for ever is cut by the pool | [`Builder::cut_held`] | `holds::the_end_of_one_that_is_cut_is_told` |
//! | A farewell may wait for its peer: it runs in the background, and is cut | [`Manager::close`], [`Builder::close_timeout`] | `clients/tests/postgres::a_frozen_server_does_not_hold_its_farewell_for_ever` |
#![forbid(unsafe_code)]

#[cfg(doc)]
use crate::{Builder, Conn, Dial, Manager, Stream, TcpManager, Watch};
