import { useChat } from "@ai-sdk/react";
import { createRoot } from "react-dom/client";

const textOf = ({ parts }) => parts.filter(({ type }) => type === "text").map(({ text }) => text).join("");

function Chat() {
  const { messages, sendMessage, regenerate, stop, status, error } = useChat();
  const writing = status === "submitted" || status === "streaming";
  return (
    <main>
      {messages.map((message) => <p key={message.id} data-role={message.role}>{textOf(message)}</p>)}
      {error && <p role="alert">{error.message}</p>}
      <form action={(form) => sendMessage({ text: form.get("prompt") })}>
        <input name="prompt" aria-label="Message" autoFocus />
        <button disabled={writing}>Send</button>
        <button type="button" disabled={!writing} onClick={stop}>Stop</button>
        <button type="button" disabled={writing || !messages.length} onClick={() => regenerate()}>Again</button>
      </form>
    </main>
  );
}

createRoot(document.getElementById("root")).render(<Chat />);
