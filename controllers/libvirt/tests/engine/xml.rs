//! The XML tree: what is read is written again, and what cannot be is refused with a reason.

use libvirt::xml::{Element, MAX_ATTRIBUTES, MAX_BYTES, MAX_DEPTH, Node};

fn refusal(text: &str) -> String {
    Element::parse(text).unwrap_err().to_string()
}

#[test]
fn a_description_with_unknown_and_namespaced_content_survives_a_round_trip() {
    let text = concat!(
        "<domain type=\"kvm\" id=\"3\">\n",
        "  <name>a &lt;b&gt; &amp; &quot;c&quot;</name>\n",
        "  <metadata>\n",
        "    <x:mark xmlns:x=\"urn:x\" x:owner=\"me\">\n",
        "      <x:empty/>\n",
        "    </x:mark>\n",
        "  </metadata>\n",
        "  <unknown deep=\"1\">\n",
        "    <leaf>  kept  </leaf>\n",
        "  </unknown>\n",
        "</domain>\n",
    );
    assert_eq!(Element::parse(text).unwrap().write().unwrap(), text);
}

#[test]
fn mixed_content_keeps_its_text_and_its_white_space() {
    let text = "<m>\n  <note>one <b>two</b> three <i/></note>\n</m>\n";
    assert_eq!(Element::parse(text).unwrap().write().unwrap(), text);
}

#[test]
fn control_white_space_in_attributes_and_carriage_returns_in_text_survive_a_round_trip() {
    let tree = Element::new("a").attr("v", "one\ntwo\tthree\rfour").child(Element::new("t").text("x\r\ny"));
    assert_eq!(Element::parse(&tree.write().unwrap()).unwrap(), tree);
}

#[test]
fn text_broken_up_by_references_and_cdata_is_one_piece() {
    let tree = Element::parse("<a>x &amp; <![CDATA[<y>]]>&#65;</a>").unwrap();
    assert_eq!(tree.nodes, vec![Node::Text("x & <y>A".to_owned())]);
}

#[test]
fn the_xml_declaration_comments_and_instructions_are_dropped() {
    let tree = Element::parse("<?xml version='1.0'?>\n<!-- c --><a><!-- d --><?p q?><b/></a>\n").unwrap();
    assert_eq!(tree, Element::new("a").child(Element::new("b")));
}

#[test]
fn malformed_input_is_refused_with_its_place() {
    assert_eq!(refusal(""), "the XML document has no element");
    assert_eq!(refusal("<a><b>"), "the XML document ends inside of element b");
    assert_eq!(refusal("<a/><b/>"), "XML at byte 8: a second root element");
    assert_eq!(refusal("<a/>x"), "XML at byte 5: text outside of the root element");
    assert_eq!(
        refusal("<a b='1' b='2'/>"),
        "XML at byte 16: position 8: duplicated attribute, previous declaration at position 2"
    );
    assert_eq!(refusal("<a></b>"), "XML at byte 7: ill-formed document: expected `</a>`, but `</b>` was found");
    assert_eq!(
        refusal("<a>\u{1}</a>"),
        "XML at byte 4: the text of a holds the character U+0001, which XML cannot carry"
    );
    assert_eq!(refusal("<a>&#1;</a>"), "XML at byte 7: the character U+0001 is forbidden in XML");
}

#[test]
fn entities_are_never_expanded() {
    let bomb = "<!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;'>]><a>&c;</a>";
    assert_eq!(refusal(bomb), "XML at byte 53: a document type declaration is not accepted");
    assert_eq!(refusal("<a>&c;</a>"), "XML at byte 6: the entity &c; is not accepted");
    assert_eq!(refusal("<a v='&c;'/>"), "XML at byte 12: at 1..2: unrecognized entity `c`");
}

#[test]
fn depth_size_and_attributes_are_limited() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(Element::parse(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(
        refusal(&nested(MAX_DEPTH + 1)),
        format!("XML at byte {}: elements nest deeper than {MAX_DEPTH}", 3 * (MAX_DEPTH + 1))
    );
    let crowded = (0..=MAX_ATTRIBUTES).map(|n| format!("a{n}=''")).collect::<Vec<_>>().join(" ");
    assert!(refusal(&format!("<a {crowded}/>")).ends_with("a has more than 256 attributes"));
    let large = format!("<a>{}</a>", "x".repeat(MAX_BYTES));
    assert_eq!(refusal(&large), format!("the XML document has {} bytes, more than {MAX_BYTES}", MAX_BYTES + 7));
}

#[test]
fn what_xml_cannot_carry_is_refused_at_writing() {
    let refusal = |element: Element| element.write().unwrap_err().to_string();
    assert_eq!(
        refusal(Element::new("a").text("\0")),
        "the text of a holds the character U+0000, which XML cannot carry"
    );
    assert_eq!(
        refusal(Element::new("a").attr("b", "\u{1b}[0m")),
        "the attribute b of a holds the character U+001B, which XML cannot carry"
    );
    assert_eq!(refusal(Element::new("a><b")), "\"a><b\" is not an XML name");
    assert_eq!(refusal(Element::new("a").attr("x y", "")), "\"x y\" is not an XML name");
    assert_eq!(refusal(Element::new("")), "\"\" is not an XML name");
}

#[test]
fn a_value_never_becomes_markup() {
    let hostile = "\"/><disk type='file'/><x a=\"";
    let text = Element::new("a").attr("v", hostile).text("</a><b>&x;").write().unwrap();
    assert_eq!(
        text,
        "<a v=\"&quot;/&gt;&lt;disk type=&apos;file&apos;/&gt;&lt;x a=&quot;\">&lt;/a&gt;&lt;b&gt;&amp;x;</a>\n"
    );
}

#[test]
fn readers_follow_paths() {
    let tree = Element::parse(
        "<domain type='qemu'><uuid> u </uuid><os><type machine='q35'>hvm</type></os><devices><disk n='1'/><tpm/><disk n='2'/></devices></domain>",
    )
    .unwrap();
    assert_eq!(tree.attr_at("@type"), Some("qemu"));
    assert_eq!(tree.attr_at("os/type@machine"), Some("q35"));
    assert_eq!(tree.attr_at("os/type"), None);
    assert_eq!(tree.text_at("os/type"), Some("hvm"));
    assert_eq!(tree.text_at("uuid"), Some("u"));
    assert_eq!(tree.find("devices/disk").and_then(|disk| disk.get("n")), Some("1"));
    assert_eq!(tree.find("devices/nic"), None);
    assert_eq!(tree.find(""), Some(&tree));
    let disks: Vec<_> = tree.find_all("devices/disk").iter().filter_map(|disk| disk.get("n")).collect();
    assert_eq!(disks, ["1", "2"]);
}

#[test]
fn builders_replace_what_is_there_and_editors_take_it_away() {
    let mut tree = Element::new("a").attr("x", "1").attr("x", "2").text("old").child(Element::new("b")).text("new");
    assert_eq!(tree.write().unwrap(), "<a x=\"2\">new<b/></a>\n");
    assert!(tree.unset("x"));
    assert!(!tree.unset("x"));
    tree.retain(|child| child.name != "b");
    tree.set_text(" ");
    assert!(tree.is_empty());
}
