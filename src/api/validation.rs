//! What the API server would say of a request's manifest: the schema, its rules, and the chart's admission policy as far as it does
//! not depend on who asks. The same texts that the API server gets, evaluated here.
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

/// A fault of a manifest: a sentence that names the field.
pub type Fault = String;

/// The rules, ready to be asked again and again.
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
    /// The rules of `CredentialReset`.
    ///
    /// # Errors
    /// If one cannot be read: a defect of this program.
    pub fn new() -> Result<Self, String> {
        let crd = super::finished(CredentialReset::crd());
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let compiled = compile_schema(schema);
        let mut strict = schema.clone();
        tighten(&mut strict);
        // The API server knows these, and a manifest's status is not looked at.
        for (name, what) in
            [("apiVersion", json!({})), ("kind", json!({})), ("metadata", json!({})), ("status", json!({}))]
        {
            strict["properties"][name] = what;
        }
        let schema = jsonschema::validator_for(&strict).map_err(|e| e.to_string())?;
        let (mut variables, mut validations) = (Vec::new(), Vec::new());
        for text in POLICIES {
            // What two of them call by one name is the same.
            let policy: Policy = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
            variables.extend(policy.variables);
            validations.extend(policy.validations);
        }
        // Who asks is known to the API server alone.
        let (asks, variables): (Vec<_>, Vec<_>) =
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
                .filter(|v| !v.expression.contains("authorizer"))
                .filter(|v| !asks.iter().any(|a| v.expression.contains(&format!("variables.{}", a.name))))
                .map(|v| Ok((compile(&v.expression)?, v.message.unwrap_or(v.expression))))
                .collect::<Result<_, String>>()?,
        })
    }

    /// What is wrong with a manifest; nothing, if the API server would take it.
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
            return faults; // rules expect what the schema says
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
        let mut known: HashMap<String, Cel> = HashMap::new();
        for (name, value) in [("object", manifest), ("request", &request)] {
            if context.add_variable(name, value).is_err() {
                return vec![format!("{name} cannot be looked at")];
            }
        }
        for (name, program) in &self.variables {
            let Ok(value) = program.execute(&context) else {
                return vec![format!("variable {name} of the admission policy cannot be told")];
            };
            known.insert(name.clone(), value);
            context.add_variable_from_value("variables", known.clone());
        }
        let refused = |(program, message): &(Program, String)| match program.execute(&context) {
            Ok(Cel::Bool(true)) => None,
            _ => Some(format!("metadata: {message}")),
        };
        self.policy.iter().filter_map(refused).collect()
    }
}

/// From a structural schema to one that refuses what the API server refuses: fields that it does not have.
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
