//! Kinds of other programs, as far as our examples use them.

/// The CRDs of cert-manager's Issuer and Certificate with the fields that examples set; others are refused.
pub fn cert_manager() -> String {
    let text = "{type: string}";
    let issuer = format!("selfSigned: {{type: object}}, ca: {{type: object, properties: {{secretName: {text}}}}}");
    let reference = format!("{{type: object, properties: {{kind: {text}, name: {text}}}}}");
    let certificate = format!(
        "secretName: {text}, commonName: {text}, duration: {text}, isCA: {{type: boolean}}, \
         dnsNames: {{type: array, items: {text}}}, issuerRef: {reference}"
    );
    crd("Issuer", "issuers", &issuer) + &crd("Certificate", "certificates", &certificate)
}

fn crd(kind: &str, plural: &str, fields: &str) -> String {
    let spec = format!("{{type: object, properties: {{{fields}}}}}");
    let schema = format!("{{openAPIV3Schema: {{type: object, properties: {{spec: {spec}}}}}}}");
    format!(
        "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: {plural}.cert-manager.io}}\n\
         spec: {{group: cert-manager.io, scope: Namespaced, names: {{kind: {kind}, plural: {plural}}}, \
         versions: [{{name: v1, served: true, storage: true, schema: {schema}}}]}}\n"
    )
}
