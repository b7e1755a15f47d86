//! One file a command.

pub mod backup;
pub mod bench;
pub mod cast;
pub mod cert;
pub mod certificates;
pub mod generate;
pub mod group;
pub mod init;
pub mod join;
pub mod kv;
pub mod mail;
pub mod recover;
pub mod restore;
pub mod sim;
pub mod site;
pub mod site_add;
pub mod site_move;
pub mod site_stores;
pub mod status;
pub mod torture;
pub mod up;
pub mod upgrade;
pub mod view;
