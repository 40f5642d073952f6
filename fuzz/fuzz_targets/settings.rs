//! A settings file: settled or refused, and what is printed of the settings is a settings file of the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vecload::{Layers, Settings, SettingsError};
use vecload_fuzz::with_file;

fn settle(text: &[u8]) -> Result<Settings, SettingsError> {
    with_file(text, |path| Layers::default().file(path)?.settle())
}

fuzz_target!(init: vecload_fuzz::begin("settings"), |text: &[u8]| {
    if let Ok(settings) = settle(text) {
        let printed = toml::to_string(&settings).expect("TOML");
        let again = settle(printed.as_bytes()).expect("what was printed is good");
        assert_eq!(toml::to_string(&again).expect("TOML"), printed);
    }
});
