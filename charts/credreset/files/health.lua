-- The health of a CredentialReset or a Directory in Argo CD (argocd-cm: resource.customizations.health.credreset.dev_<kind>).
-- Argo CD runs it without the libraries string and math, for a second at most, and shows an unknown status as Unknown.
local status = obj.status or {}
local generation = (obj.metadata or {}).generation

if (obj.spec or {}).suspend == true then -- a Directory
  return { status = "Suspended", message = "The Directory is suspended: requests wait." }
end
if status.observedGeneration ~= generation then -- -1 until the operator has processed it
  return { status = "Progressing", message = "The operator has not processed this generation yet." }
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    local health = { status = "Progressing", message = condition.message or condition.reason or "" }
    if condition.status == "True" then
      health.status = "Healthy"
    elseif condition.status == "False" then
      health.status = "Degraded"
    elseif condition.reason == "AwaitingApproval" then -- it waits for a person
      health.status = "Suspended"
    end
    return health
  end
end
return { status = "Progressing", message = "The operator has set no condition yet." }
