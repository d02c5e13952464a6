"""The HTTP answers of the site's applications for missing things and conflicts."""

from fastapi import FastAPI
from fastapi.responses import JSONResponse, RedirectResponse


class Missing(Exception):
    """Raised for something that does not exist: 404."""


class Conflict(Exception):
    """Raised when a request conflicts with existing data: 409."""


def new_application(title: str) -> FastAPI:
    """Return an application that answers Missing and Conflict with their words."""
    app = FastAPI(title=title)
    for kind, status in ((Missing, 404), (Conflict, 409)):

        def answer(request, error: Exception, status=status) -> JSONResponse:
            return JSONResponse({"detail": str(error)}, status)

        app.add_exception_handler(kind, answer)

    @app.get("/", include_in_schema=False)
    def docs() -> RedirectResponse:
        return RedirectResponse("/docs")

    return app
