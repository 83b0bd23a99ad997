from ninja import Router, Schema

from chat.api.request import ApiRequest

router = Router(tags=["models"])


class Model(Schema):
    id: str
    label: str
    default: bool
    capabilities: list[str]
    context_tokens: int


@router.get("", response=list[Model], summary="The models that answer here")
async def list_models(request: ApiRequest) -> list[Model]:
    models = await request.desk.engine.models()
    return [
        Model(
            id=model.id,
            label=model.label,
            default=model is models[0],
            capabilities=list(model.capabilities),
            context_tokens=model.context_tokens,
        )
        for model in models
    ]
