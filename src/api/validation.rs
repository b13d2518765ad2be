//! Validates a request's manifest as the API server would: by the schema, its CEL rules, and the chart's admission policies as far as they
//! do not depend on the caller. Evaluates the same texts that are installed at the API server.
use std::collections::HashMap;

use kube::CustomResourceExt;
use kube_cel::{
    CompiledSchema, KubeCelExt,
    cel::{Context, Program, Value as Cel},
    compile_schema,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::CredentialReset;
use crate::core::text::is_object_name;

/// The policies, as the chart installs them.
const POLICIES: [&str; 2] = [
    include_str!("../../charts/credreset/files/requests-policy.yaml"),
    include_str!("../../charts/credreset/files/sizes-policy.yaml"),
];

/// A fault of a manifest: a text that names the field.
pub type Fault = String;

/// The compiled rules.
pub struct Rules {
    schema: jsonschema::Validator,
    compiled: CompiledSchema,
    cel: kube_cel::Validator,
    variables: Vec<(String, Program)>,
    policy: Vec<(Program, String)>,
}

#[derive(Deserialize)]
struct Policy {
    variables: Vec<Variable>,
    validations: Vec<Validation>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    expression: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Validation {
    expression: String,
    #[serde(default)]
    message: Option<String>,
}

impl Rules {
    /// Compiles the rules for `CredentialReset`.
    ///
    /// # Errors
    /// If one does not compile: a bug of this program.
    pub fn new() -> Result<Self, String> {
        let crd = super::crds::complete(CredentialReset::crd());
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let compiled = compile_schema(schema);
        let mut strict = schema.clone();
        tighten(&mut strict);
        // The API server validates these itself, and ignores the status of a manifest.
        for (name, what) in
            [("apiVersion", json!({})), ("kind", json!({})), ("metadata", json!({})), ("status", json!({}))]
        {
            strict["properties"][name] = what;
        }
        let schema = jsonschema::validator_for(&strict).map_err(|e| e.to_string())?;
        let (mut variables, mut validations) = (Vec::new(), Vec::new());
        for text in POLICIES {
            // Variables of the same name are the same in both policies.
            let policy: Policy = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
            variables.extend(policy.variables);
            validations.extend(policy.validations);
        }
        // Only the API server knows the caller.
        let (with_caller, variables): (Vec<_>, Vec<_>) =
            variables.into_iter().partition(|variable| variable.expression.contains("authorizer"));
        let compile = |text: &str| Program::compile(text).map_err(|e| format!("{text}: {e}"));
        Ok(Self {
            schema,
            compiled,
            cel: kube_cel::Validator::new(),
            variables: variables
                .into_iter()
                .map(|v| Ok((v.name, compile(&v.expression)?)))
                .collect::<Result<_, String>>()?,
            policy: validations
                .into_iter()
                .filter(|v| !["authorizer", "userInfo"].iter().any(|caller| v.expression.contains(caller)))
                .filter(|v| !with_caller.iter().any(|a| v.expression.contains(&format!("variables.{}", a.name))))
                .map(|v| Ok((compile(&v.expression)?, v.message.unwrap_or(v.expression))))
                .collect::<Result<_, String>>()?,
        })
    }

    /// The faults of a manifest; none if the API server would accept it.
    #[must_use]
    pub fn faults(&self, manifest: &Value) -> Vec<Fault> {
        let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
        if !is_object_name(name) {
            return vec![
                "metadata.name must be lower case letters, digits, '-' and '.', as in annette-locked-out".to_owned(),
            ];
        }
        let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or_default();
        if !is_object_name(namespace) || namespace.contains('.') {
            return vec!["metadata.namespace must be lower case letters, digits and '-', as in helpdesk".to_owned()];
        }
        let faults: Vec<Fault> = self
            .schema
            .iter_errors(manifest)
            .map(|error| {
                let at = error.instance_path().to_string().trim_start_matches('/').replace('/', ".");
                format!("{at}: {}", error.masked())
            })
            .collect();
        if !faults.is_empty() {
            return faults; // the CEL rules assume a manifest that fits the schema
        }
        let mut faults: Vec<Fault> = match self.cel.validate_compiled(&self.compiled, manifest, None) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_vec().into_iter().map(|e| format!("{}: {}", e.field_path, e.message)).collect(),
        };
        faults.extend(self.against_policy(manifest));
        faults
    }

    fn against_policy(&self, manifest: &Value) -> Vec<Fault> {
        let mut context = Context::default().with_all();
        let request = json!({"operation": "CREATE"});
        let mut values: HashMap<String, Cel> = HashMap::new();
        for (name, value) in [("object", manifest), ("request", &request)] {
            if context.add_variable(name, value).is_err() {
                return vec![format!("{name} cannot be evaluated")];
            }
        }
        for (name, program) in &self.variables {
            let Ok(value) = program.execute(&context) else {
                return vec![format!("variable {name} of the admission policy cannot be evaluated")];
            };
            values.insert(name.clone(), value);
            context.add_variable_from_value("variables", values.clone());
        }
        let refused = |(program, message): &(Program, String)| match program.execute(&context) {
            Ok(Cel::Bool(true)) => None,
            _ => Some(format!("metadata: {message}")),
        };
        self.policy.iter().filter_map(refused).collect()
    }
}

/// Makes the schema refuse unknown fields, as the API server does.
fn tighten(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), json!(false));
            }
            fields.values_mut().for_each(tighten);
        }
        Value::Array(all) => all.iter_mut().for_each(tighten),
        _ => {}
    }
}
