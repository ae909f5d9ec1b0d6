//! Several contents as one MIME message, taken apart by Python's email library, as cloud-init does it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use apis::cloud_init::ContentType;
use data_encoding::HEXLOWER;
use provider_libvirt::cloud_init::mime::{Part, merged};

fn part(name: &str, content_type: Option<ContentType>, content: &[u8]) -> Part {
    Part { name: name.to_owned(), content_type, content: content.to_vec() }
}

fn detected(content: &[u8]) -> Part {
    part("it", None, content)
}

/// What Python finds in a message: type, file name and content of each part.
fn taken_apart(message: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let program = "import email, sys\n\
                   for p in email.message_from_string(sys.stdin.buffer.read().decode()).walk():\n  \
                   if not p.is_multipart(): print(p.get_content_type(), p.get_filename(), p.get_payload(decode=True).hex(), sep=',')";
    let mut python = Command::new("python3")
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed");
    python.stdin.take().unwrap().write_all(message).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    let rows = String::from_utf8(output.stdout).unwrap();
    rows.lines()
        .map(|row| {
            let [kind, name, hex] = <[&str; 3]>::try_from(row.split(',').collect::<Vec<_>>()).unwrap();
            (kind.to_owned(), name.to_owned(), HEXLOWER.decode(hex.as_bytes()).unwrap())
        })
        .collect()
}

#[test]
fn plain_parts_stay_readable_and_others_are_encoded() {
    let parts = [
        part("base", None, b"#cloud-config\nhostname: a\n"),
        part("boot", Some(ContentType::ShellScriptPerBoot), b"#!/bin/sh\nprintf 'a\r'"),
    ];
    let message = "MIME-Version: 1.0\n\
                   Content-Type: multipart/mixed; boundary=\"==provider-libvirt==\"\n\n\
                   --==provider-libvirt==\n\
                   Content-Type: text/cloud-config\nMIME-Version: 1.0\n\
                   Content-Disposition: attachment; filename=\"000-base\"\n\
                   Content-Transfer-Encoding: 7bit\n\n\
                   #cloud-config\nhostname: a\n\n\
                   --==provider-libvirt==\n\
                   Content-Type: text/x-shellscript-per-boot\nMIME-Version: 1.0\n\
                   Content-Disposition: attachment; filename=\"001-boot\"\n\
                   Content-Transfer-Encoding: base64\n\n\
                   IyEvYmluL3NoCnByaW50ZiAnYQ0n\n\
                   --==provider-libvirt==--\n";
    assert_eq!(String::from_utf8(merged(&parts).unwrap()).unwrap(), message);
}

#[test]
fn every_content_comes_out_as_it_went_in() {
    let binary: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
    let large: Vec<u8> = (0..500 * 1024u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let long = vec![b'x'; 5000];
    let contents: [&[u8]; 15] = [
        b"",
        b"\n",
        b"\n\n\n",
        b"no end of line",
        b"\"'\\$(id)`\n",
        b"a\r\nb\r\n\r",
        b"EOF\ncat <<EOF\nEOF\n",
        b"--==provider-libvirt==--\n",
        b"--\n-- \n--x\nFrom me\n.\n",
        b"MIME-Version: 1.0\nContent-Type: multipart/mixed\n",
        b"=3D=20\n",
        "grüße\n".as_bytes(),
        &binary,
        &large,
        &long,
    ];
    let parts: Vec<_> = contents.iter().map(|content| part("it", Some(ContentType::ShellScript), content)).collect();
    let message = merged(&parts).unwrap();
    let name = |at: usize| format!("{at:03}-it");
    let wanted = contents.iter().enumerate();
    let wanted: Vec<_> =
        wanted.map(|(at, content)| ("text/x-shellscript".to_owned(), name(at), content.to_vec())).collect();
    let found = taken_apart(&message);
    for (found, wanted) in found.iter().zip(&wanted) {
        // Not assert_eq: some are too large to show.
        assert!(found == wanted, "{} has another content", wanted.1);
    }
    assert_eq!(found.len(), wanted.len());
    assert!(message == merged(&parts).unwrap(), "the same parts give another message");
}

#[test]
fn a_part_is_what_it_says_or_what_its_first_line_says() {
    let table = [
        ("#cloud-config\n", "text/cloud-config"),
        ("\n #Cloud-Config\n", "text/cloud-config"),
        ("#cloud-config-archive\n", "text/cloud-config-archive"),
        ("#cloud-config-jsonp\n", "text/cloud-config-jsonp"),
        ("#cloud-boothook\n", "text/cloud-boothook"),
        ("## template: jinja\n#cloud-config\n", "text/jinja2"),
        ("#part-handler\n", "text/part-handler"),
        ("#include\n", "text/x-include-url"),
        ("#include-once\n", "text/x-include-once-url"),
        ("#!/bin/sh\n", "text/x-shellscript"),
        ("\x1f\u{8b}", "text/x-shellscript-per-once"),
    ];
    let said =
        |text: &str| (!text.starts_with('#') && !text.starts_with('\n')).then_some(ContentType::ShellScriptPerOnce);
    let parts: Vec<_> = table.iter().map(|(text, _)| part("it", said(text), text.as_bytes())).collect();
    let kinds: Vec<_> = taken_apart(&merged(&parts).unwrap()).into_iter().map(|(kind, _, _)| kind).collect();
    assert_eq!(kinds, table.map(|(_, kind)| kind));
    let compressed = [detected(b"\x1f\x8b\x08x"), detected(b"#!")];
    assert_eq!(taken_apart(&merged(&compressed).unwrap())[0].0, "application/gzip");
}

#[test]
fn a_part_that_cannot_be_told_is_refused_without_a_word_of_what_is_in_it() {
    let refusal = |part: Part| merged(&[part]).unwrap_err().to_string();
    let unknown = "part it begins with nothing that cloud-init knows, such as #cloud-config or #!: set its contentType";
    for content in [&b""[..], b"password: x", b"\xff#!", b"# cloud-config\n"] {
        assert_eq!(refusal(detected(content)), unknown);
    }
    assert_eq!(
        refusal(part("it", Some(ContentType::CloudConfig), b"\x1f\x8b\x08")),
        "part it is compressed by gzip, so cloud-init looks inside for what it is: leave contentType out"
    );
}

#[test]
fn an_only_part_is_the_whole_file_where_that_reads_the_same() {
    assert_eq!(merged(&[detected(b"#!/bin/sh\n")]).unwrap(), b"#!/bin/sh\n");
    // What mentions a MIME version early would be taken for a message.
    let mentions = b"#!/bin/sh\n# mime-version: 1\n";
    assert_eq!(
        taken_apart(&merged(&[detected(mentions)]).unwrap()),
        [("text/x-shellscript".to_owned(), "000-it".to_owned(), mentions.to_vec())]
    );
    let said = merged(&[part("it", Some(ContentType::ShellScriptPerBoot), b"#!")]).unwrap();
    assert_eq!(taken_apart(&said)[0].0, "text/x-shellscript-per-boot");
}
